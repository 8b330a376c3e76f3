"""Volumes seen by one or several microscopes, each through a point spread function that is the same everywhere."""
