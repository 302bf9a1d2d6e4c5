"""Benchmarks of Cordum on real processes: ``python -m benches.report`` (docs/benchmarks.md)."""
