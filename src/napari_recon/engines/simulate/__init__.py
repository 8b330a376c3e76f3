"""Simulated raw data with ground truth: what every other engine is checked and demonstrated on."""
