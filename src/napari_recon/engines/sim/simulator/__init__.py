"""What a structured-illumination microscope records of an object: patterns, imaging, camera."""
