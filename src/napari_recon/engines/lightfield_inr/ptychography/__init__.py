"""Fields of refractive index fitted to images under many lamps."""
