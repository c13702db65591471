"""The gateway's modules that touch adapters; the work beside them does not."""
