"""One training loop for every engine that learns: events, checkpoints, several devices."""
