"""Pixels in and out: record sets, verification packs, alignment, the built-in synthetic faces."""
import runtime  # noqa: F401  (first of all: see runtime/loading.py)
