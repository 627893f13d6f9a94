"""ONNX Runtime: embeddings by our own ONNX form of a stored graph, or by any ONNX file."""
