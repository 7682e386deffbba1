"""Runnable measurements: each writes JSON to `benchmarks/results`, `report` renders it."""
