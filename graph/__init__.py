"""A checkpoint: its symbol and parameters, read, written, counted and rewritten."""
import runtime  # noqa: F401  (first of all: see runtime/loading.py)
