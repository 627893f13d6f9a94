"""A checkpoint: its symbol and parameters, read, written, counted and rewritten."""
