"""Runnable measurements, written to `benchmarks/results` as JSON.

`report` renders the results.
"""
