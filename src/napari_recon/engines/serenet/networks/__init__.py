"""The networks of the SeReNet family as published, with the parameter names of the authors' checkpoints (torch inside).

Lu, Jin, Chen et al., Nature Methods 2025, doi 10.1038/s41592-025-02698-z, and the networks compared there. Every module
is the plain graph, made to be trained; how they are computed fast and in parts is written elsewhere.
"""
