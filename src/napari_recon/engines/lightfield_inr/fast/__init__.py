"""The fast fit of a light field: Richardson-Lucy, then a voxel field refined under a smoothness penalty."""
