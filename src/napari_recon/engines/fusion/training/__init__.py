"""Training of the light-sheet networks."""
