"""The adapters that come with Playhead, one a file. Each uses only what an adapter of yours could use."""
