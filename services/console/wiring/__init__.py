"""The console's modules that touch adapters; the pages beside them do not."""
