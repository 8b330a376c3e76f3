"""SplitTransform: where the mirror lies in a volume, and so how one volume becomes two views. No torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import FiniteFloat, ValidationError

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Frozen


class SplitTransform(Frozen):
    """A mirror plane, and the small shift that is left between what lies on either side of it.

    Places are (x, y, z) in micrometers around the middle of the volume. Turned coordinates are
    ``x' = x cos(Y) - z sin(Y), z1 = x sin(Y) + z cos(Y), y' = y cos(X) - z1 sin(X), z' = y sin(X) + z1 cos(X)``
    with the angles Y and X below; the mirror is the plane z' = `mirror_um`. A point of view a at (x', y', z') is seen by
    view b at (x' + shift x, y' + shift y, 2 mirror - z').

    Attributes
    ----------
    angle_y_deg, angle_x_deg : float
        Turns in the planes of (x, z) and (y, z), in this order.
    mirror_um : float
    shift_um : (float, float)
        (y, x).
    voxel_um, shape_zyx : tuple
        Of the volume it was found in.
    method : str
    correlation_nominal, correlation_searched, correlation : float
        Of both views: as designed, after the search over whole steps, and in the end.
    """

    kind: Literal["dual-view split"] = "dual-view split"
    axis: Literal["x", "y"] = "x"
    angle_y_deg: FiniteFloat
    angle_x_deg: FiniteFloat
    mirror_um: FiniteFloat
    shift_um: tuple[FiniteFloat, FiniteFloat] = (0.0, 0.0)
    voxel_um: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    shape_zyx: tuple[int, int, int]
    method: str = "refined"
    correlation_nominal: float = 0.0
    correlation_searched: float = 0.0
    correlation: float = 0.0

    @classmethod
    def given(cls, path: str) -> SplitTransform | None:
        """Return the transform in a JSON or YAML file; None for ``"auto"``.

        Raises
        ------
        InputError
            When there is no such file or it holds something else.
        """
        if path == "auto":
            return None
        file = Path(path).expanduser()
        if not file.exists():
            raise InputError(
                f"transform should be auto or a file of an earlier split, found nothing at {path}; check the path"
            )
        try:
            text = file.read_text(encoding="utf-8")
            found = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
            return cls.model_validate(found[0] if isinstance(found, list) else found)
        except (ValidationError, ValueError, yaml.YAMLError, UnicodeDecodeError, IndexError) as error:
            reason = str(error).splitlines()[0][:100]
            raise InputError(
                f"{file.name} should be the transform of a dual-view split (JSON or YAML), found other content ({reason}); "
                "take the file that fusion.split_views wrote"
            ) from None

    @property
    def turn(self) -> NDArray[np.float64]:
        """The rotation (3, 3) that takes (x, y, z) to turned (x', y', z')."""
        t, p = math.radians(self.angle_y_deg), math.radians(self.angle_x_deg)
        about_y = np.array([[math.cos(t), 0, -math.sin(t)], [0, 1, 0], [math.sin(t), 0, math.cos(t)]])
        about_x = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
        both: NDArray[np.float64] = about_x @ about_y
        return both

    def source(self, mirrored: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return matrix and offset that take turned places of view a (or b, `mirrored`) to (x, y, z) in the volume."""
        back = self.turn.T
        if not mirrored:
            return back, np.zeros(3)
        flip, offset = np.diag([1.0, 1.0, -1.0]), np.array([self.shift_um[1], self.shift_um[0], 2 * self.mirror_um])
        return back @ flip, back @ offset

    def image_of(self, xyz: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where view b sees the places (n, 3) of view a, all in the volume's own coordinates."""
        matrix, offset = self.source(mirrored=True)
        found: NDArray[np.float64] = xyz @ self.turn.T @ matrix.T + offset
        return found
