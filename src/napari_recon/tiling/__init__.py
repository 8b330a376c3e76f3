"""Cutting a field into tiles that together give exactly what the whole would."""
