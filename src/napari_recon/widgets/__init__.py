"""Dock widgets: thin compositions of shared panels. Nothing here imports torch."""
