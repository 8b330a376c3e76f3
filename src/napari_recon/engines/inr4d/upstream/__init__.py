"""The published space-time field: an encoder's latent numbers over space, and a network rendered in small hypercubes."""
