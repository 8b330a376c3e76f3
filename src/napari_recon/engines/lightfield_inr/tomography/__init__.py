"""Fields fitted to projections at known angles."""
