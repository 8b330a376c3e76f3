"""Tomography: volumes from projections at many angles; what its engines share lies here, too."""
