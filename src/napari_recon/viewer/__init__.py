"""The bridge to napari: layers in, worker, events to layers, regions, layer commands. Nothing else touches viewer.layers."""
