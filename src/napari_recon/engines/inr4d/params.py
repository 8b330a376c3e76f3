"""Parameters of the query of a 4-D field. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from napari_recon.core.params import EngineParams, param
from napari_recon.engines.inr4d.lattice import Sampled, factors_of, spelled

Size = Annotated[int, Field(ge=1)]
Sizes = tuple[Size, Size, Size, Size]
Factors = Annotated[str, BeforeValidator(lambda value: spelled(factors_of(value)))]
TABLES = (".npy", ".npz")


class HypercubeParams(EngineParams):
    """What the published files do not say of how a field is rendered."""

    samples: int = param(
        16, "Points per hypercube (n_samples): the fourth power of a whole number.", ge=1, le=1296, advanced=True
    )
    radius: float = param(0.5, "Half the edge of a hypercube, in steps of the grid in use.", gt=0, le=1, advanced=True)
    jitter: str = param(
        "",
        "A table (samples x 4, numbers from 0 to 1; .npy or FILE.npz::NAME) of where samples lie in a hypercube, the same "
        "for all; empty takes the field's own or a default one.",
        file=TABLES,
        advanced=True,
    )


class QueryParams(HypercubeParams):
    """Parameters of `inr4d.query`."""

    scale: Factors = param(
        "",
        "Samples per data point by axis, t=2,z=2,y=1.5,x=1.5 for example; any number above 0, one number is that of z, y "
        "and x. Axes that are not named keep theirs.",
    )
    grid: Literal["points", "area"] = param(
        "points",
        "points: from the first to the last data point, (n - 1) s + 1 samples; area: the whole field of view, n s samples, "
        "of which the outer ones lie outside the outer data points.",
    )
    frames: str = param(
        "",
        "Which frames of the result, a:b without b, counted from 0 along its own time: a single one between two time points "
        "for example. Empty takes all of the time range.",
        advanced=True,
    )
    compat: Literal["none", "upstream"] = param(
        "none",
        "upstream: the published grid, int(n s) samples from the first to the last data point, with the published look-up "
        "of latents.",
        advanced=True,
    )
    intensities: Literal["recording", "upstream"] = param(
        "recording",
        "recording: those of the recording; upstream: the look of the published program, 0.1 to 99.9 percent stretched to "
        "8 bits and blurred along all four axes (kept in memory whole).",
    )
    shape_tzyx: Sizes | None = param(
        None,
        "Time points, planes, rows and columns of the recording a published field was fitted to; None takes them from the "
        "recording or the model.",
        advanced=True,
    )
    tables: int = param(
        1, "Renderings of a published field with different jitter of which the mean is taken.", ge=1, le=64, advanced=True
    )
    slab: int = param(0, "Planes that are computed together; 0 chooses. It does not change the result.", ge=0, advanced=True)

    @property
    def factors(self) -> dict[str, float]:
        """Samples per data point by axis (lower case)."""
        return factors_of(self.scale)

    @property
    def sampled(self) -> Sampled:
        """How the lattice lies."""
        return "upstream" if self.compat == "upstream" else self.grid
