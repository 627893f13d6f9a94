"""MXNet 1.9.1, the reference: the one folder that imports it. Everything that enters or leaves is NumPy."""
