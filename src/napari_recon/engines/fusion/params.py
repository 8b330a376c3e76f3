"""Parameters that the steps before the fusion share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param

#: Between the stage's way and the picture in the published microscope.
ANGLE_DEG = 30.8
Direction = Literal["auto", 1, -1]
_WAYS = {"forward": 1, "backward": -1, "+1": 1, "1": 1, "-1": -1}


class StackParams(EngineParams):
    """What is said of a raw stack."""

    skew_axis: Literal["x", "y"] = param(
        "x", "The axis along which structures move from plane to plane; the first one of an MRC file is x."
    )
    compat: Literal["none", "upstream"] = param(
        "none", "upstream repeats the published script, slips included.", advanced=True
    )

    @property
    def across(self) -> str:
        """The axis that is neither z nor skewed."""
        return "Y" if self.skew_axis == "x" else "X"

    @property
    def axes(self) -> str:
        """Axes of a frame with the skewed one last."""
        return f"Z{self.across}{self.skew_axis.upper()}"


class SkewParams(StackParams):
    """How a stack is skewed."""

    angle_deg: float = param(
        ANGLE_DEG,
        "Angle between the way of the stage and the skew axis of the picture; a negative one turns the direction around.",
        unit="deg",
        ge=-89,
        le=89,
    )
    step_um: Annotated[float, Field(gt=0, le=100)] | Literal["auto"] = param(
        "auto", "Distance the stage moves between planes; auto takes the plane distance the file tells.", unit="um"
    )
    direction: Direction = param(
        "auto",
        "1 (or forward): structures move towards larger x from plane to plane of the raw stack; -1 (or backward): towards "
        "smaller; auto looks.",
    )

    @field_validator("direction", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return _WAYS.get(value.strip().lower(), value) if isinstance(value, str) else value


def skewed_lengths(grid: Grid, skew_axis: str, step_um: float | str) -> tuple[float, float]:
    """Return (stage step, pixel along the skew axis) in micrometers.

    Raises
    ------
    InputError
        When the file tells neither and nobody else does.
    """
    axis = skew_axis.upper()
    if grid.unit(axis) != "micrometer":
        raise InputError(
            f"raw should tell its pixel size in micrometers along {skew_axis}, found none; "
            "give it, for example --voxel-size z=0.4,y=0.104,x=0.104 (z: the step of the stage)"
        )
    if isinstance(step_um, float | int):
        return float(step_um), abs(grid.step(axis))
    if grid.unit("Z") != "micrometer":
        raise InputError(
            "raw should tell the step of the stage in micrometers, found none; "
            "give step_um, or --voxel-size z=0.4,y=0.104,x=0.104"
        )
    return abs(grid.step("Z")), abs(grid.step(axis))
