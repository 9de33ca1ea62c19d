"""For authors of sinks: the methods of an adapter that follows publications, and these methods in SQL."""

from playhead.ports.sinks import (
    Dialect,
    LiveTables,
    Script,
    Shown,
    Sink,
    SinkBehind,
    SinkContext,
    SqlSink,
    StagePage,
    run,
    run_async,
)

__all__ = [
    "Dialect",
    "LiveTables",
    "Script",
    "Shown",
    "Sink",
    "SinkBehind",
    "SinkContext",
    "SqlSink",
    "StagePage",
    "run",
    "run_async",
]
