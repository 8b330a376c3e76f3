"""From the picture behind a microlens array to views: the grid of lenslets, resampling, the order of a scan."""
