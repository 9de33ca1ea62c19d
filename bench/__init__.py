"""Figures: the product beside bare code, in the same run. `make bench`; see docs/benchmarks.md."""
