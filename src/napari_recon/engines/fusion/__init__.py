"""Light-sheet preparation, super-resolution and fusion."""
