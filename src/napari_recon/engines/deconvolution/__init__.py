"""Richardson-Lucy deconvolution: the classical baseline, needing physics but no weights."""
