"""The published way of fitting a field: its losses, stages, blocks, schedule and files."""
