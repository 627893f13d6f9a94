"""OpenVINO: embeddings by our own ONNX form of a stored graph, on Intel and AMD processors."""
