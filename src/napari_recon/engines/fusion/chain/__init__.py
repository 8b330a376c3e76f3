"""The steps of the light-sheet pipeline as a chain of engines, and the folder that keeps what they made."""
