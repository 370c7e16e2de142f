"""Processes, logs, metrics and `doctor`. Imported by the command only."""
