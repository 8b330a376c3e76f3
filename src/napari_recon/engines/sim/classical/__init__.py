"""Classical structured illumination in torch: find the pattern, separate the bands, recombine them."""
