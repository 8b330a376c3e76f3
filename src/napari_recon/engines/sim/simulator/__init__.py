"""A structured-illumination microscope in numpy: objects, patterns, optics, camera, and the truth (no torch)."""
