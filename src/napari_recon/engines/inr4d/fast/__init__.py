"""The fast fit of a recording: noise, motion between frames, planes between planes, and the field that holds them."""
