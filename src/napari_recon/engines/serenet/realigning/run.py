"""The run of serenet.realign: corrections, the grid, the scan, then views row by row. numpy and scipy."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Decided, Event, Progress, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.realign import RealignParams
from napari_recon.engines.serenet.realigning.find import Found, find_lenslets
from napari_recon.engines.serenet.realigning.lenslets import LensletGrid
from napari_recon.engines.serenet.realigning.sample import flat_field, sampled_views
from napari_recon.engines.serenet.realigning.scan import Continuity, cells_of, interleaved

#: Relative distance of the pitch found from nnum, or from what the optics say, that is asked about.
WRONG_NNUM, WRONG_OPTICS = 0.12, 0.02
#: Distance of the picture's lenslets from those of the white one, in pitches, from which it is said.
MOVED = 0.06
_ROWS = 4  # lenslets at a time, for series that are cancelled between blocks

Floats = NDArray[np.float32]


class Realigner:
    """What is the same for all frames of a recording.

    Parameters
    ----------
    plan : Plan
    params : RealignParams
    first : mapping
        The recording's first frame: ``raw`` (N, Y, X), ``white`` and ``dark`` (Y, X) or None.
    """

    def __init__(self, plan: Plan, params: RealignParams, first: Mapping[str, Any]) -> None:
        self._params, self._plan, self._first = params, plan, first
        whole = plan.whole["views"]
        self._lenslets = whole.size("Y") // params.scanning, whole.size("X") // params.scanning
        self._dark: Floats | float = 0.0
        self._factor: Floats | None = None
        self._order: tuple[int, ...] = (0,)
        self.grid: LensletGrid
        self._corner = (0, 0)

    def decide(self, token: CancelToken) -> Iterator[Event]:
        """Find everything that is automatic, and yield what is to be said of it."""
        params, raw, white = self._params, self._first["raw"], self._first["white"]
        yield Progress(0, 1, "lenslet row", "finding lenslets")
        picture = raw.mean(axis=0)
        yield from self._take_off_dark(picture, white)
        found = yield from self._find(picture, white, token)
        self.grid = grid = found.grid
        self._corner = grid.block(picture.shape, self._lenslets)
        token.check()
        if white is not None and params.flat_field != "none":
            views = sampled_views(white - self._dark, grid, params.nnum, self._corner, *self._bounds(), token.check)
            self._factor = flat_field(views, params.flat_field)
        order = "raster"
        if params.scanning > 1:
            order = yield from self._scan_order(raw, token)
        self._order = cells_of(order, params.scanning)
        report = self._report(found, order)
        outside = grid.outside(self._corner, self._lenslets, picture.shape)
        if outside:
            yield Warned(self._cut(outside))
        decided = {
            "pitch_px": grid.pitch_px,
            "rotation_deg": grid.rotation_deg,
            "centre": list(grid.centre),
            "stretch": grid.stretch,
            "lenslets": list(self._lenslets),
        }
        if params.scanning > 1:
            decided["scan_order"] = order
        automatic = {name: value for name, value in decided.items() if getattr(params, name) == "auto"}
        if automatic:
            yield Decided(automatic)
        yield ArtifactReady("lenslets", "points", self._points())
        yield ArtifactReady("report", "report", {**report, "lenslets_cut": outside})

    def frame(self, raw: Floats, token: CancelToken) -> Iterator[Event]:
        """Yield the views of one frame (N, Y, X), some rows of lenslets at a time."""
        params, plan = self._params, self._plan
        grid, box, s = plan.whole["views"], plan.box, params.scanning
        (top, bottom), (left, right) = (
            (box.bounds(a, grid.size(a)) if box is not None else (0, grid.size(a))) for a in "YX"
        )
        columns = left // s, -(-right // s)
        step = params.tile_size or max(_ROWS, (1 << 21) // (params.nnum**2 * s * s * (columns[1] - columns[0])))
        starts = list(range(top // s, -(-bottom // s), step))
        light = raw - self._dark
        for number, start in enumerate(starts):
            token.check()
            rows = start, min(start + step, -(-bottom // s))
            views = np.stack(
                [sampled_views(one, self.grid, params.nnum, self._corner, rows, columns, token.check) for one in light]
            )
            if self._factor is not None:
                views *= self._factor[:, slice(*rows), slice(*columns)]
            block = interleaved(views, self._order, s) if s > 1 else views[0]
            low, high = max(top, rows[0] * s), min(bottom, rows[1] * s)
            part = block[:, low - rows[0] * s : high - rows[0] * s, left - columns[0] * s : right - columns[0] * s]
            yield BlockReady("views", (slice(0, params.nnum**2), slice(low - top, high - top), slice(0, right - left)), part)
            yield Progress(number + 1, len(starts), "block")

    def _take_off_dark(self, picture: Floats, white: Floats | None) -> Iterator[Event]:
        dark = self._first["dark"]
        if dark is None:
            return
        low, level = float(np.percentile(picture, 1)), float(np.median(dark))
        if low < level - 3 * float(dark.std()):
            yield Warned(
                f"the dark picture ({level:.4g}) is brighter than the darkest places of the raw one ({low:.4g}): it seems "
                "to have been taken off already, and is left out"
            )
        elif white is not None and float(np.percentile(white, 99)) < level:
            raise InputError(
                f"the white picture should be brighter than the dark one ({level:.4g}), found "
                f"{float(np.percentile(white, 99)):.4g}; exchange them"
            )
        else:
            self._dark = dark

    def _find(self, picture: Floats, white: Floats | None, token: CancelToken) -> Generator[Event, None, Found]:
        """Return the grid; a generator, as there may be something to say."""
        params, where = self._params, "the white picture" if white is not None else "the picture"
        expected = params.expected_pitch
        changed: dict[str, Any] = {
            n: float(v) for n in ("pitch_px", "rotation_deg", "stretch") if (v := getattr(params, n)) != "auto"
        }
        if params.centre != "auto":
            changed["centre"] = (float(params.centre[0]), float(params.centre[1]))
        if {"pitch_px", "rotation_deg", "centre"} <= set(changed):
            return Found(LensletGrid(**changed), 0.0)
        found = find_lenslets(picture if white is None else white, expected, white is not None, token.check)
        pitch, wrong = found.grid.pitch_px, abs(found.grid.pitch_px / expected - 1)
        told = params.pitch_px != "auto" or expected != params.nnum
        if wrong > (WRONG_OPTICS if told else WRONG_NNUM):
            odd = max(3, 2 * round((pitch - 1) / 2) + 1)
            said = "pitch_px" if params.pitch_px != "auto" else "pitch_um over camera_pixel_um" if told else "nnum"
            raise InputError(
                f"{where} shows lenslets of {pitch:.5g} pixels, but {said} means {expected:.5g}; set "
                f"{'' if odd == params.nnum else f'nnum={odd}, '}pitch_px={pitch:.7g}"
            )
        if not told and not params.lenslet_um and wrong > 0.002:
            yield Warned(
                f"lenslets have {pitch:.5g} pixels, voxel size and number of lenslets were set for {expected:.5g}; "
                f"set pitch_px={pitch:.7g}"
            )
        found = replace(found, grid=replace(found.grid, **changed))
        if white is not None:
            yield from self._moved(picture, found.grid, token)
        return found

    def _moved(self, picture: Floats, grid: LensletGrid, token: CancelToken) -> Iterator[Event]:
        """Say when the raw picture's own lenslets are elsewhere than the white one's."""
        try:
            own = find_lenslets(picture, grid.pitch_px, False, token.check)
        except InputError:
            return  # that is what the white picture is for
        away = (np.array(own.grid.centre) - grid.around(own.grid.centre).centre) / grid.pitch_px
        if own.pitch_error < 5e-4 and float(np.hypot(*away)) > MOVED:
            y, x = (away * grid.pitch_px).tolist()
            yield Warned(
                f"the raw picture's lenslets lie {y:+.2g} (y) and {x:+.2g} (x) pixels beside those of the white one, whose "
                "places are used; if the camera was moved in between, take a new white picture or state centre"
            )

    def _scan_order(self, raw: Floats, token: CancelToken) -> Generator[Event, None, str]:
        """Return the order's name; a generator, as there may be something to say."""
        params, nnum = self._params, self._params.nnum
        middle = nnum // 2
        near = [u * nnum + v for u in (middle - 1, middle, middle + 1) for v in (middle - 1, middle, middle + 1)]
        views = [
            sampled_views(one - self._dark, self.grid, nnum, self._corner, *self._bounds(), token.check)[near] for one in raw
        ]
        continuity = Continuity(np.stack(views))
        order = "raster" if params.scan_order == "auto" else params.scan_order
        judged = continuity.judged(order)
        if params.scan_order == "auto":
            if not judged.wrong:
                return order
            return judged.best
        if judged.wrong:
            yield Warned(
                f"neighbouring scan positions differ {judged.roughness / max(judged.best_roughness, 1e-12):.2g} times as "
                f"much with scan_order {order} as with {judged.best}; set scan_order={judged.best}"
            )
        return order

    def _bounds(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (0, self._lenslets[0]), (0, self._lenslets[1])

    def _points(self) -> list[dict[str, float]]:
        """Return one row per lenslet of the result, in pixels of the raw picture."""
        rows, columns = (np.arange(n) for n in self._lenslets)
        number = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        places = self.grid.places((number + self._corner).astype(float))
        return [
            {"row": int(r), "column": int(c), "y": round(float(y), 3), "x": round(float(x), 3)}
            for (r, c), (y, x) in zip(number, places, strict=True)
        ]

    def _report(self, found: Found, order: str) -> dict[str, Any]:
        grid, params = found.grid, self._params
        y, x = grid.places(np.array(self._corner, dtype=float)).tolist()
        report: dict[str, Any] = {
            "pitch_px": grid.pitch_px,
            "rotation_deg": grid.rotation_deg,
            "centre_px": list(grid.centre),
            "stretch": grid.stretch,
            "nnum": params.nnum,
            "lenslets": list(self._lenslets),
            "first_lenslet_px": [y, x],
            "contrast": found.contrast,
            "pitch_error_percent": 100 * found.pitch_error,
            "rotation_error_deg": found.rotation_error_deg,
            "flat_field": params.flat_field if self._factor is not None else "none",
            "dark_taken_off": self._dark is self._first["dark"],
        }
        if params.scanning > 1:
            report["scan_order"] = order
        return report

    def _cut(self, outside: int) -> str:
        fits = [n - 1 if n > 1 else n for n in self._lenslets]
        return (
            f"{outside} of {self._lenslets[0] * self._lenslets[1]} lenslets are cut by the picture's edge, where its last "
            f"pixels are repeated; leave out the outermost with lenslets {fits[0]},{fits[1]} if this disturbs"
        )
