"""Encoders: loading, running, preparing and exporting them. The only place that imports onnxruntime."""
