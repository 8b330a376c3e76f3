"""Layers as engine inputs: their axes, their place in the world, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_recon.core.engine import InputSpec
    from napari_recon.core.stack import ImageStack


@dataclass(frozen=True)
class Problem:
    """Why a layer is unfit, or what to know before using it.

    Attributes
    ----------
    text : str
        One sentence: expected, found, remedy.
    severity : str
        ``"error"`` blocks Run, ``"warning"`` does not.
    fix_label : str
        Text of a button; empty when there is no one-click fix.
    fix_axes : str
        Axes that the button should set (the fix changes the form, never the layer).
    """

    text: str
    severity: Literal["error", "warning"] = "error"
    fix_label: str = ""
    fix_axes: str = ""


def guess_axes(layer: Layer, spec: InputSpec) -> str:
    """Return the likely axis letters of `layer` as input `spec`: labels first, else the declared axes behind T and C."""
    raise NotImplementedError


def check_layer(layer: Layer, spec: InputSpec, axes: str) -> list[Problem]:
    """Return what is wrong with `layer` as input `spec` under `axes`, from headers alone."""
    raise NotImplementedError


def stack_from_layer(layer: Layer, axes: str) -> ImageStack:
    """Return the layer as a lazy stack (level 0 of a multiscale image); pixels are read later, in the worker.

    A layer that is only scaled and translated gives a grid in world coordinates. Otherwise (rotation, shear, affine)
    the grid is scaled but unrotated and ``metadata["placement"]`` holds the matrix from there to the world, which
    `results` composes onto what is made from it.

    Raises
    ------
    InputError
        RGB or non-image layers, or axes that do not fit.
    """
    raise NotImplementedError


def fits(layer: Layer, spec: InputSpec) -> bool:
    """Return whether the layer belongs in the drop-down list of input `spec` (its type alone decides)."""
    raise NotImplementedError


