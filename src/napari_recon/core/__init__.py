"""The vocabulary every other package speaks: axes, boxes, plans, events, engines. No torch, Qt or napari here."""
