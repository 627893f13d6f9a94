"""Embeddings to numbers: one module per benchmark of the paper, and what they share."""
import runtime  # noqa: F401  (first of all: see runtime/loading.py)
