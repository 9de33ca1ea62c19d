"""The web UI: pages that the server renders, for a person in a browser.

page        the parts of every page: its view, its API calls and its live numbers
render      templates, formats and headers
app         the ASGI app: pages, their `.json` twins, live numbers, forms, assets

Each other module is one page, a group of pages, or a mechanism without I/O, such as a layout or a text diff.
A page asks `Services`, and never the HTTP API.
"""
