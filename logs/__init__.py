"""Runs over time: the log format, published curves, comparison."""
import runtime  # noqa: F401  (first of all: see runtime/loading.py)
