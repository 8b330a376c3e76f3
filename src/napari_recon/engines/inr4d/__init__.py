"""4-D fields of recordings: published and fast fits, and queries between planes and frames."""
