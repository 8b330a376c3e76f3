"""How the pages of a raw file become frames: angles, phases and the order they were recorded in."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import BeforeValidator

from napari_recon.core.arrange import Arrangement, arrangement
from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid

Pattern = Literal["stripes", "hexagonal"]
Order = Literal["ap", "pa", "apz", "paz", "azp", "pza", "zap", "zpa"]


def _short(order: object) -> object:
    """Return an order without the image axes it may be spelled with (apzyx)."""
    return order.lower().removesuffix("yx") if isinstance(order, str) else order


FrameOrder = Annotated[Order, BeforeValidator(_short)]
"""Pages from the slowest to the fastest index: a angle, p phase, z plane. Further sets of frames are time points."""

ORDERS: tuple[str, ...] = get_args(Order)
RAW = InputSpec(
    name="raw",
    axes="NYX",
    loops="TCZ",
    also=("APYX",),
    description="the raw frames: angles times phases pages per image",
)


class Layout(NamedTuple):
    """Angles and phases of one set of raw frames."""

    angles: int
    phases: int
    pattern: Pattern = "stripes"

    @classmethod
    def of(cls, angles: int, phases: int, pattern: Pattern) -> Layout:
        """Return the layout of a pattern: a hexagonal one has one "angle" and at least 7 phases."""
        return cls(1, max(phases, 7), pattern) if pattern == "hexagonal" else cls(angles, phases)

    @property
    def frames(self) -> int:
        """Raw frames of one image."""
        return self.angles * self.phases


def arranged(grid: Grid, layout: Layout, order: str) -> Arrangement:
    """Return how a file's axes become (T, C, Z looped) N Y X with N angle-major.

    Takes N Y X with N a multiple of the frames per image, A P Y X, and both with T, C, Z; A and P may also be unnamed
    leading dimensions of the right sizes, and so may be those of an order with z (angle, phase, z, y, x and the like).

    Raises
    ------
    InputError
        A number of pages that is no multiple of angles times phases; the counts that would fit are named.
    """
    sizes = {"A": layout.angles, "P": layout.phases}
    grid = _in_a_row(_named(grid, layout, order), layout, order)
    if "A" in grid.axes or "P" in grid.axes:
        found = {a: grid.size(a) for a in "AP"}
        if found != sizes:
            raise InputError(
                f"the raw stack has {found['A']} angles and {found['P']} phases along its axes {grid.axes}, but "
                f"angles={layout.angles} and phases={layout.phases} are set; set angles={found['A']}, phases={found['P']}"
            )
        return arrangement(grid)
    pages = grid.size("N")
    sets = pages // layout.frames
    if pages % layout.frames or not pages:
        raise InputError(_does_not_fit(grid, layout))
    extra = "Z" if "z" in order else "T"
    if sets > 1 and grid.size(extra) > 1:
        raise InputError(
            f"the raw stack has {pages} pages at each {extra.lower()}, expected {layout.frames} as it has an axis {extra}; "
            "name the axes (--axes) or choose another frame_order"
        )
    letters = order.upper() if "z" in order else f"T{order.upper()}"
    split = [(a, sizes.get(a, sets)) for a in letters if a in sizes or sets > 1]
    return arrangement(grid, split)


def _named(grid: Grid, layout: Layout, order: str) -> Grid:
    """Return the grid with the pages that are raw frames called so, where its axes leave no doubt.

    A stack of T, C or Z pages whose number fits becomes N; two outer axes of the right sizes become angle and phase.
    """
    axes = grid.axes
    if "A" in axes or "P" in axes:
        return grid
    if "N" not in axes:
        fits = [a for a in "ZCT" if a in axes and grid.size(a) % layout.frames == 0]
        return grid.model_copy(update={"axes": axes.replace(fits[0], "N")}) if fits else grid
    first, second = (a for a in order.upper() if a in "AP")
    sizes = {"A": layout.angles, "P": layout.phases}
    at = axes.index("N")
    if at and grid.shape[at - 1 : at + 1] == (sizes[first], sizes[second]):
        return grid.model_copy(update={"axes": axes[: at - 1] + first + second + axes[at + 1 :]})
    return grid


def _in_a_row(grid: Grid, layout: Layout, order: str) -> Grid:
    """Return the grid with all its pages along N, where an order with z says what several outer dimensions are.

    Only where N is no whole number of sets of frames, so that there is no other way to read them.
    """
    axes, lead = grid.axes, grid.shape[:-2]
    taken = "z" not in order or "A" in axes or "P" in axes or len(lead) < 2 or grid.size("N") % layout.frames == 0
    if taken or math.prod(lead) % layout.frames or axes[:-2].endswith("V"):
        return grid
    return Grid.of("N", (math.prod(lead),)).joined(grid.only("YX"))


def fitting(pages: int) -> list[Layout]:
    """Return the usual layouts of a single image of so many pages, else those that divide them; 3 angles first."""
    fits = [Layout(a, p) for a in range(1, 6) for p in range(3, 8) if pages and pages % (a * p) == 0]
    fits = [fit for fit in fits if fit.frames == pages] or fits
    return sorted(fits, key=lambda fit: (abs(fit.angles - 3), fit.phases))


def _does_not_fit(grid: Grid, layout: Layout) -> str:
    pages = grid.size("N")
    options = ", ".join(f"{fit.angles} x {fit.phases}" for fit in fitting(pages)[:4])
    advice = f"{options} (angles x phases) would fit" if options else "no usual number of angles and phases fits"
    if other := [a for a in grid.axes if a in "TCZ" and grid.size(a) % layout.frames == 0]:
        named = grid.axes.replace("N", "?").replace(other[0], "N").replace("?", other[0])
        advice = f"axis {other[0]} has {grid.size(other[0])} (name the axes --axes {named})"
    return (
        f"the raw stack should have a multiple of {layout.angles} angles x {layout.phases} phases = {layout.frames} pages, "
        f"found {pages}; {advice}: set angles and phases, or choose another file"
    )
