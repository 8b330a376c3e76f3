"""Calibration: what is known of an illumination pattern, as plain data that goes in and out of JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Frozen


class Carrier(Frozen):
    """One cosine of the pattern: 1 + modulation cos(2 pi k r + phase), r in um with its zero at raw pixel n // 2.

    Attributes
    ----------
    k_per_um : tuple of float
        (kx, ky) in cycles/um.
    modulation : float
        1 is the full depth of a pure cosine; the first harmonic of a grating with sharp lines may exceed it.
    phases_rad : tuple of float
        One absolute phase per frame of the group.
    peak_to_noise : float
        Height of the correlation peak over the median of its surroundings.
    verdict : str
        In words: found, weak, not found, and what to do about it.
    """

    k_per_um: tuple[FiniteFloat, FiniteFloat]
    modulation: FiniteFloat
    phases_rad: tuple[FiniteFloat, ...]
    peak_to_noise: float = 0.0
    verdict: str = ""

    @property
    def k_magnitude_per_um(self) -> float:
        """|k| in cycles/um."""
        return math.hypot(*self.k_per_um)

    @property
    def phase_steps_deg(self) -> tuple[float, ...]:
        """Steps from each frame to the next, wrapped to -180..180 degrees; the last leads back to the first."""
        around = zip(self.phases_rad, self.phases_rad[1:] + self.phases_rad[:1], strict=True)
        return tuple((math.degrees(b - a) + 180.0) % 360.0 - 180.0 for a, b in around)


class Group(Frozen):
    """Frames that are separated together and share one order 0: an angle of stripes, or all frames of a hexagonal pattern.

    Attributes
    ----------
    frames : tuple of int
        Indices into the angle-major raw stack.
    carriers : tuple of Carrier
        Empty where none was found; the frames then serve order 0 alone.
    verdict : str
        About the group as a whole; empty when its carriers say everything.
    misfit : float
        Power that the fitted pattern leaves unexplained in the frames, over that of noise: 1 is perfect, and much more
        means an object that moves, another transfer function, or a pattern that is no cosine. 0 when not known.
    """

    frames: tuple[int, ...]
    carriers: tuple[Carrier, ...]
    verdict: str = ""
    misfit: float = 0.0


class Calibration(Frozen):
    """Everything a reconstruction needs besides the frames.

    Attributes
    ----------
    pixel_um, shape_yx
        (y, x) of the raw frames the calibration was made on.
    gains : tuple of float
        Illumination of each raw frame relative to their mean; frames are divided by it.
    noise_power : float
        Mean power per Fourier pixel beyond the cut-off, of frames after offset and gain, in counts^2.
    verdict : str
        The whole in words.
    """

    schema_version: Literal[1] = 1
    na: Annotated[FiniteFloat, Field(gt=0)]
    wavelength_um: Annotated[FiniteFloat, Field(gt=0)]
    pixel_um: tuple[float, float]
    shape_yx: tuple[int, int]
    angles: int
    phases: int
    pattern: Literal["stripes", "hexagonal"] = "stripes"
    camera_offset: FiniteFloat = 0.0
    gains: tuple[FiniteFloat, ...] = ()
    groups: tuple[Group, ...] = Field(min_length=1)
    noise_power: float = 0.0
    verdict: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Check that frames, phases and gains belong together, as in a file that was not changed by hand."""
        frames = [n for group in self.groups for n in group.frames]
        if sorted(frames) != list(range(self.angles * self.phases)):
            raise ValueError("the groups' frames")
        if self.gains and len(self.gains) != len(frames):
            raise ValueError("the number of gains")
        if any(len(c.phases_rad) != len(group.frames) for group in self.groups for c in group.carriers):
            raise ValueError("the number of phases")
        return self

    @property
    def cutoff_per_um(self) -> float:
        """Largest frequency the objective passes, 2 NA / wavelength."""
        return 2.0 * self.na / self.wavelength_um

    @property
    def result_cutoff_per_um(self) -> float:
        """Largest frequency of a result: the objective's plus the pattern's, averaged over the groups."""
        longest = [max((c.k_magnitude_per_um for c in group.carriers), default=0.0) for group in self.groups]
        return self.cutoff_per_um + sum(longest) / len(longest)

    @property
    def frames(self) -> int:
        """Number of raw frames."""
        return sum(len(group.frames) for group in self.groups)

    @classmethod
    def given(cls, parameter: str) -> Calibration | None:
        """Return what a parameter `calibration` names: a file's content, or None for auto (InputError as for `load`)."""
        return None if parameter == "auto" else cls.load(parameter)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a calibration from JSON.

        Raises
        ------
        InputError
            No such file, no JSON, or JSON of something else.
        """
        try:
            return cls.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError:
            raise InputError(f"calibration should be a JSON file, found none readable at {path}; check the path") from None
        except (ValueError, ValidationError) as error:
            where = "no JSON"
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or first["msg"].removeprefix("Value error, ")
            raise InputError(
                f"calibration should be a file written by sim.wiener, found {Path(path).name} (problem at: {where}); "
                "choose another file or use calibration=auto"
            ) from None
