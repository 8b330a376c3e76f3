"""Neural fields of light-field scenes (LFMNR): the published networks, their checkpoints, fitting and querying."""
