"""Three images of one plane, each sharp along its own direction, joined into one (torch)."""
