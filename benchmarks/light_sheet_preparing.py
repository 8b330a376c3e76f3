"""Speed and exactness of deskewing against scipy, drift of the mirror's line, registration of dual views.

    python benchmarks/light_sheet_preparing.py [--save]

Stacks are made here from Gaussian blobs with known places; nothing is downloaded. Programs to compare run alternately.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

REPO = Path(__file__).parent.parent
sys.path[:0] = [str(REPO / "benchmarks"), str(REPO)]

from recording import Row, save  # noqa: E402

import napari_recon  # noqa: E402
from napari_recon.engines.fusion.preparing.skew import Skew  # noqa: E402
from napari_recon.engines.fusion.registration.split_transform import SplitTransform  # noqa: E402
from tests.engines.fusion import mirrored, skewed  # noqa: E402
from tests.engines.fusion.test_background import PLANES, mirror  # noqa: E402

SHAPE = (96, 160, 320)
SCENES = ({"angle_x": 0.43, "mirror": 2.3}, {"angle_y": 31.3, "angle_x": -0.6, "mirror": -3.6, "shift": (0.4, -0.8)},
          {"angle_y": 30.3, "mirror": 1.15, "shift": (-0.5, 0.25)})  # fmt: skip


def alternately(programs: dict[str, Callable[[], Any]], repeats: int = 3) -> dict[str, float]:
    """Return the least time of each program in seconds."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, do in programs.items():
            start = time.perf_counter()
            do()
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


def by_scipy(raw: np.ndarray, skew: Skew, coverslip: bool) -> np.ndarray:
    """Return the same volume by one affine transform with cubic splines, the prefilter included."""
    if coverslip:
        size, pixels, sine = skew.coverslip_shape, skew.pixel_um, skew.direction * skew.sin
        shape = (size[0], raw.shape[1], size[1])
        # turned (z, x) -> straight (z, x) -> raw (plane, x), all in samples
        plane = np.array([skew.cos, 0, -sine]) * pixels / skew.pitch_um
        column = np.array([sine, 0, skew.cos]) + plane * skew.shift
        matrix = np.array([plane, [0, 1, 0], column])
    else:
        shape = (skew.planes, raw.shape[1], skew.straight_columns)
        matrix = np.array([[1, 0, 0], [0, 1, 0], [skew.shift, 0, 1]])
    offset = (np.array(raw.shape) - 1) / 2 - matrix @ ((np.array(shape) - 1) / 2)
    return ndimage.affine_transform(raw, matrix, offset, shape, order=3, prefilter=True, mode="constant")


def deskewing() -> list[Row]:
    """Time and largest error against the blobs, with and without turning onto the coverslip."""
    stack = skewed.stack(shape=SHAPE, noise=0.0)
    raw = np.asarray(stack.data).astype(np.float32)
    skew = Skew(skewed.ANGLE, 1, skewed.STEP, skewed.PIXEL, SHAPE[0], SHAPE[2])
    rows = []
    for coverslip, words in ((False, "deskew"), (True, "deskew onto the coverslip")):
        params = {"angle_deg": skewed.ANGLE, "direction": 1, "coverslip": coverslip}

        def ours(params: dict[str, Any] = params) -> np.ndarray:
            return napari_recon.run("fusion.deskew", stack, params=params, threads=torch.get_num_threads())["volume"]

        def theirs(coverslip: bool = coverslip) -> np.ndarray:
            return by_scipy(raw, skew, coverslip)

        times = alternately({"ours": ours, "scipy": theirs})
        rows.append(Row(f"{words}: time of the whole run", times["ours"], "s"))
        rows.append(Row(f"{words}: speed-up over scipy's affine transform", times["scipy"] / times["ours"], "x", ">= 3"))
        expected = truth(stack, params)
        seen = (ours() > 0) & (theirs() > 0)
        seen = ndimage.binary_erosion(seen, iterations=3)
        for name, found in (("", ours()), (", scipy", theirs())):
            error = np.sqrt(((found - 5 - expected)[seen] ** 2).mean()) / expected.max()
            rows.append(Row(f"{words}{name}: error against the sample / maximum", float(error)))
    return rows


def truth(stack: Any, params: dict[str, Any]) -> np.ndarray:
    """Return the blobs on the result's grid."""
    grid = napari_recon.plan("fusion.deskew", stack, params=params).outputs[0].grid
    z, y, x = (
        np.array([grid.to_world(a, i) for i in range(grid.size(a))]) - stack.grid.to_world(a, (stack.grid.size(a) - 1) / 2)
        for a in "ZYX"
    )
    z, y, x = z[:, None, None], y[None, :, None], x[None, None]
    if params["coverslip"]:
        cos, sin = np.cos(np.radians(skewed.ANGLE)), np.sin(np.radians(skewed.ANGLE))
        z, x = -x * sin + z * cos, x * cos + z * sin
    return skewed.bright(skewed.blobs(), z, y, x)


def drift() -> list[Row]:
    """Largest error of the mirror's drift, corrected and as published."""
    rate = 0.2
    raw = mirror(85.0, rate)
    expected = -rate * (np.arange(PLANES) - (PLANES - 1) / 2)
    rows = []
    for compat, words in (("none", "corrected"), ("upstream", "as published")):
        result = napari_recon.run("fusion.background", raw, params={"preset": "ER", "compat": compat})
        found = np.array(result.artifacts["report"]["drift_pixel"])
        aim = "< 1.5" if compat == "none" else ""
        rows.append(
            Row(f"drift of the mirror's line, {words}: largest error", float(np.abs(found - expected).max()), "pixel", aim)
        )
    return rows


def splitting() -> list[Row]:
    """Error of the view registration on mirrored scenes with noise, after the search and refined."""
    rows = []
    for number, scene in enumerate(SCENES):
        true = mirrored.truth(shape=(64, 96, 128), **scene)  # type: ignore[arg-type]
        stack = mirrored.stack(mirrored.volume(true, count=150, depth=30, seed=number))
        start = time.perf_counter()
        found = {
            refine: SplitTransform.model_validate(
                napari_recon.run("fusion.split_views", stack, params={"refine": refine}).artifacts["transform"]
            )
            for refine in (False, True)
        }
        words = f"dual views, scene {number + 1}"
        rows.append(Row(f"{words}: error after the search", mirrored.error(found[False], true), "voxel"))
        rows.append(Row(f"{words}: error refined", mirrored.error(found[True], true), "voxel", "< 0.1"))
        sys.stderr.write(f"{words}: {time.perf_counter() - start:.1f} s\n")
    return rows


def main() -> None:
    """Measure and print, with --save also store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    rows = [*deskewing(), *drift(), *splitting()]
    for row in rows:
        sys.stdout.write(f"{row.what}: {row.value:.4g} {row.unit} {row.target}\n")
    if not options.save:
        return
    note = (
        f"Deskewing: {' x '.join(map(str, SHAPE))} samples (z, y, x), cubic rule; scipy is "
        "`ndimage.affine_transform(order=3)` with its prefilter on the same float32 array. Our time is that of the whole "
        "run, checks and report included. Dual views: 150 blobs and their images, blurred by 1.2 voxels, by 2.8 along the "
        "optical axis, Poisson noise; the error is the root mean square over the volume of where view b sees a place."
    )
    fast, slip = (row.value for row in rows if row.what.endswith("affine transform"))
    errors = [row.value for row in rows if row.what.endswith("error refined")]
    save(
        "light_sheet_preparing",
        rows,
        "python benchmarks/light_sheet_preparing.py --save",
        note,
        {
            "fusion.deskew": f"{fast:.0f} times as fast as scipy's cubic affine transform, "
            f"{slip:.1f} times onto the coverslip.",
            "fusion.split_views": f"Views registered to {max(errors):.2f} voxels on simulated scenes.",
        },
    )


if __name__ == "__main__":
    main()
