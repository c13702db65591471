"""Encoders: loading, running, preparing and exporting them. The only place that imports
onnxruntime."""

import os

# onnxruntime 1.32 sends telemetry from Linux unless told not to, and reads this when it is
# imported. To allow it, set 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
