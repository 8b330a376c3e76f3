"""Examples, losses and tasks for training the light-field networks."""
