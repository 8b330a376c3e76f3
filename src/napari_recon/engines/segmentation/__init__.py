"""Segmentation of cells."""
