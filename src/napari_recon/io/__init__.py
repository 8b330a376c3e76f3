"""Readers and writers: thin adapters over well-kept libraries. Nothing heavy is imported until a file needs it."""

from __future__ import annotations

from napari_recon.io.open import open_inputs, open_stack, read_provenance
from napari_recon.io.output import OutputFile, check_writable, create_output, output_path, write_stack
from napari_recon.io.suffixes import supported_suffixes
from napari_recon.io.tables import read_table

__all__ = [
    "OutputFile",
    "check_writable",
    "create_output",
    "open_inputs",
    "open_stack",
    "output_path",
    "read_provenance",
    "read_table",
    "supported_suffixes",
    "write_stack",
]
