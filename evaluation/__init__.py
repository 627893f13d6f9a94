"""Embeddings to numbers: one module per benchmark of the paper, and what they share."""
