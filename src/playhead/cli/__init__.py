"""The command line: one file a noun, `app` puts them together.

Nothing here imports more than typer until a command runs, so `playhead --help` answers at once.
"""
