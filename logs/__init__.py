"""Runs over time: the log format, published curves, comparison."""
