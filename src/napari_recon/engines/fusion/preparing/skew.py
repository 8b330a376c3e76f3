"""The geometry of a skewed stack: which sample of the raw data each straight voxel comes from. No torch.

A stage carries the sample through a tilted sheet. `angle` lies between the stage's way and the picture's skew axis: from one
plane to the next the sample moves by ``step cos(angle)`` along that axis and by ``step sin(angle)`` across the plane.
Everything is centred: the middle of the stack stays in the middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_recon.core.region import Box


@dataclass(frozen=True)
class Skew:
    """One stack's geometry; x is its skew axis here, whatever the axis is called.

    Attributes
    ----------
    angle_deg : float
        Above 0.
    direction : int
        +1 when structures move towards larger x from plane to plane of the raw stack, -1 when towards smaller.
    step_um, pixel_um : float
        Distance of neighbouring planes along the stage's way, and of samples along x.
    planes, columns : int
        Extent of the raw stack along z and x.
    """

    angle_deg: float
    direction: int
    step_um: float
    pixel_um: float
    planes: int
    columns: int

    @property
    def cos(self) -> float:
        """Cosine of the angle."""
        return math.cos(math.radians(self.angle_deg))

    @property
    def sin(self) -> float:
        """Sine of the angle."""
        return math.sin(math.radians(self.angle_deg))

    @property
    def shift(self) -> float:
        """How far structures move along x from plane to plane of the raw stack, in samples, with sign."""
        return self.direction * self.step_um * self.cos / self.pixel_um

    @property
    def pitch_um(self) -> float:
        """Distance of neighbouring planes across them."""
        return self.step_um * self.sin

    @property
    def straight_columns(self) -> int:
        """Extent along x of the straight stack."""
        return math.ceil(round(self.step_um * self.planes * self.cos / self.pixel_um + self.columns, 9))

    @property
    def coverslip_shape(self) -> tuple[int, int]:
        """Extent (across, along) the coverslip, in samples of `pixel_um`."""
        across = math.ceil(round(self.columns * self.sin, 9))
        along = math.ceil(round(self.columns * self.cos + self.planes * self.step_um / self.pixel_um, 9))
        return across, along

    def source_of(self, plane: int) -> float:
        """Return the raw x that column 0 of a straight plane comes from; the others follow one by one."""
        return (plane - (self.planes - 1) / 2) * self.shift - (self.straight_columns - self.columns) / 2

    def box_of(self, z: tuple[int, int], x: tuple[int, int], coverslip: bool, both_ways: bool) -> Box:
        """Return the smallest box (z, x) of the result that covers a box of the raw stack (half-open bounds).

        `both_ways` covers it whichever the direction is.
        """
        ends = []
        for direction in (1, -1) if both_ways else (self.direction,):
            for plane in (z[0], z[1] - 1):
                for column in (x[0], x[1] - 1):
                    away = plane - (self.planes - 1) / 2
                    here = column - (self.columns - 1) / 2
                    if coverslip:
                        across, along = self.coverslip_shape
                        at_z = (across - 1) / 2 + direction * here * self.sin
                        at_x = (along - 1) / 2 + here * self.cos - direction * away * self.step_um / self.pixel_um
                    else:
                        at_z = float(plane)
                        at_x = (self.straight_columns - 1) / 2 + here - direction * away * abs(self.shift)
                    ends.append((at_z, at_x))
        across, along = self.coverslip_shape if coverslip else (self.planes, self.straight_columns)
        bounds = {}
        for axis, values, size in (("Z", [e[0] for e in ends], across), ("X", [e[1] for e in ends], along)):
            low, high = math.floor(min(values) + 1e-6), math.ceil(max(values) - 1e-6) + 1
            bounds[axis] = (max(0, min(low, size - 1)), min(size, max(high, 1)))
        return Box.of(bounds)
