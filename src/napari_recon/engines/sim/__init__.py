"""Structured illumination: classical Wiener reconstruction, networks, training, and the residual that judges them."""
