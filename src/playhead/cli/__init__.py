"""The command line: one file per noun; `app` combines them.

Nothing here imports more than typer until a command runs, so `playhead --help` answers at once.
"""
