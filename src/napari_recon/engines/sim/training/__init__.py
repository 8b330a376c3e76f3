"""Examples and losses for training structured-illumination networks."""
