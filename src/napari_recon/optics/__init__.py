"""Physics shared by engines: light-field geometry, refocus, convolutions, projectors with adjoints."""
