"""The stored symbol graph run by PyTorch: training and embedding on CPU, CUDA, ROCm and MPS."""
