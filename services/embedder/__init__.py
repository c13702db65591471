"""Hears descriptions, says embeddings: each task description becomes a point, by an ONNX encoder on
CPU or CUDA.

Leaves what the point means to the assigner. The service that scales out: start as many as there are
partitions.
"""
