"""Pixels in and out: records, pairs, alignment, the built-in synthetic faces."""
