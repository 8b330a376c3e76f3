"""Networks of the light-sheet family and what their files look like."""
