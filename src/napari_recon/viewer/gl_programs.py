"""Keeps removing a Shapes layer from crashing the viewer on software OpenGL."""

from __future__ import annotations

from typing import Any


def keep_programs() -> None:
    """Let vispy keep the shader programs of removed layers instead of deleting them.

    When a Shapes layer is removed, vispy deletes the program that drew its vertices while it is the current one; Mesa's
    software drivers (measured: 22.3.6 with napari 0.9.2) then crash at the next draw. A kept program costs a few
    kilobytes until the window closes.
    """
    from vispy.gloo import glir

    glir.GlirProgram.delete = _keep


def _keep(program: Any) -> None:
    """Stand in for ``GlirProgram.delete``."""
