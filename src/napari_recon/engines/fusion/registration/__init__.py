"""Two views from one volume: rotation, the search for the mirror plane, refinement."""
