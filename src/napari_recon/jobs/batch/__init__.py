"""One recipe over many recordings: found, made, recorded, reported, resumed."""
