"""Benchmarks that compare Playhead with bare code in the same run: `make bench`, docs/benchmarks.md."""
