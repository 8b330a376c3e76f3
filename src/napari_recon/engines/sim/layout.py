"""How the pages of a raw file become frames: angles, phases and the order they were recorded in."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import BeforeValidator

from napari_recon.core.arrange import Arrangement, arrangement
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid

Pattern = Literal["stripes", "hexagonal"]
Order = Literal["ap", "pa", "apz", "paz", "azp", "pza", "zap", "zpa"]


def _short(order: object) -> object:
    """Return an order without the image axes it may be spelled with (apzyx)."""
    return order.lower().removesuffix("yx") if isinstance(order, str) else order


FrameOrder = Annotated[Order, BeforeValidator(_short)]
"""Pages from the slowest to the fastest index: a angle, p phase, z plane. Sets of frames beyond the first are time points."""

ORDERS: tuple[str, ...] = get_args(Order)


class Layout(NamedTuple):
    """Angles and phases of one set of raw frames."""

    angles: int
    phases: int
    pattern: Pattern = "stripes"

    @property
    def frames(self) -> int:
        """Raw frames of one image."""
        return self.angles * self.phases


def arranged(grid: Grid, layout: Layout, order: str) -> Arrangement:
    """Return how a file's axes become (T, C, Z looped) N Y X with N angle-major.

    Takes N Y X with N a multiple of the frames per image, A P Y X, and both with T, C, Z; A and P may also be unnamed
    leading dimensions of the right sizes.

    Raises
    ------
    InputError
        A number of pages that is no multiple of angles times phases; the counts that would fit are named.
    """
    sizes = {"A": layout.angles, "P": layout.phases}
    if "A" not in grid.axes and "P" not in grid.axes:
        grid = _named(grid, sizes, order)
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
        raise InputError(_does_not_fit(pages, layout))
    extra = "Z" if "z" in order else "T"
    if sets > 1 and grid.size(extra) > 1:
        raise InputError(
            f"the raw stack has {pages} pages at each {extra.lower()}, expected {layout.frames} since it has an axis {extra} "
            "already; name the axes (--axes) or choose another frame_order"
        )
    letters = order.upper() if "z" in order else f"T{order.upper()}"
    split = [(a, sizes.get(a, sets)) for a in letters if a in sizes or sets > 1]
    return arrangement(grid, split)


def _named(grid: Grid, sizes: dict[str, int], order: str) -> Grid:
    """Return the grid with two outer axes that are angle and phase by their sizes named so (T N of a plain 3 x 3 array)."""
    first, second = (a for a in order.upper() if a in sizes)
    at = grid.axes.find("N")
    if at < 1 or grid.axes[at - 1] not in "TZC" or (grid.shape[at - 1], grid.shape[at]) != (sizes[first], sizes[second]):
        return grid
    return grid.model_copy(update={"axes": grid.axes[: at - 1] + first + second + grid.axes[at + 1 :]})


def _does_not_fit(pages: int, layout: Layout) -> str:
    fits = [f"{a} x {p}" for a in range(1, 6) for p in range(3, 8) if pages % (a * p) == 0]
    single = [f"{a} x {p}" for a in range(1, 6) for p in range(3, 8) if pages == a * p]
    options = ", ".join(single or fits[:4])
    advice = f"{options} (angles x phases) would fit" if options else "no usual number of angles and phases fits"
    return (
        f"the raw stack should have a multiple of {layout.angles} angles x {layout.phases} phases = {layout.frames} pages, "
        f"found {pages}; {advice}: set angles and phases, or choose another file"
    )
