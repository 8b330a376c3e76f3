"""Continuous fields: compact, and evaluated at any point or lattice of space and time."""
