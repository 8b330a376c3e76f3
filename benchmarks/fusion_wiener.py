"""Joining three orientations: planes through a filter that is prepared once, against preparing it for every plane.

    python benchmarks/fusion_wiener.py [--planes 24] [--threads 1] [--save]

The slow way turns, resizes and divides the transfer functions for every plane, turns views on the whole canvas and uses
complex transforms, which is what the formula says line by line. Both run alternately in one process; processor time is
counted, the least of three.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from recording import Row, save
from scipy import ndimage

from napari_recon.engines.fusion.joint_wiener.planes import joined, upright
from napari_recon.engines.fusion.joint_wiener.transfer import ORIENTATIONS, prepare, resized
from napari_recon.engines.fusion.joint_wiener.turning import turn

SIZES = ((48, 60), (192, 192), (384, 384), (768, 768))
WEIGHT, WIENER = 8.0, 0.1


def transfer(size: int = 512) -> list[np.ndarray]:
    """Return transfer functions of the published size: a cone, two cones set apart, a smooth edge."""
    at = np.linspace(-1, 1, size, endpoint=False)
    y, x = at[:, None], at[None]
    apart = sum(np.clip(1 - np.hypot(y - s, x) / 0.5, 0, None) for s in (-0.35, 0.35)) / 2
    return [np.clip(1 - np.hypot(y, x) / 0.5, 0, None), apart, np.exp(-(np.hypot(y, x) ** 4))]


def plane_by_plane(otfs: list[np.ndarray], views: list[np.ndarray], coarse: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return one joined plane, everything prepared for it alone."""
    otf0, otf1, apodisation = otfs
    apo = resized(apodisation**2, size).numpy()
    base = resized(2.0 * otf0, size).numpy()
    turned = ndimage.rotate(otf1, 90)
    sharp = [resized(ndimage.rotate(turned, -angle, reshape=False), size).numpy() for angle in ORIENTATIONS]
    wide = resized(coarse, size).numpy()
    numerator = -2 * base * apo * np.fft.fftshift(np.fft.fft2(wide))
    for view, transfer_, angle in zip(views, sharp, ORIENTATIONS, strict=True):
        upright_ = view if angle == 0 else middle_of(ndimage.rotate(view, -angle), size)
        low, high = upright_.min(), upright_.max()
        spectrum = np.fft.fftshift(np.fft.fft2(65535 * (upright_ - low) / (high - low + 1e-7)))
        numerator = numerator + (base + WEIGHT * transfer_) * spectrum
    found = np.fft.ifft2(np.fft.ifftshift(numerator / (base + sum(sharp) + WIENER**2))).real.clip(0)
    found = (found - found.min()) / (found.max() - found.min() + 1e-7)
    return found * views[0].mean() / found.mean()


def middle_of(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the middle of a plane, as the published program cuts it."""
    starts = [0 if n == k else round(n / 2) - k // 2 - k % 2 for n, k in zip(plane.shape, size, strict=True)]
    return plane[starts[0] : starts[0] + size[0], starts[1] : starts[1] + size[1]]


def measure(size: tuple[int, int], planes: int) -> list[Row]:
    """Return time per plane both ways, their ratio and their difference."""
    rng, otfs = np.random.default_rng(0), transfer()
    fine = ndimage.gaussian_filter(rng.random((planes, *size)) ** 8, (0, 1, 1)) * 1e4
    views = [fine, *(turn(size, angle, None, "float64")(fine) for angle in (60, 120))]
    coarse = fine[:, : size[0] // 3 * 2 : 1, : size[1] // 3 * 2 : 1]
    filter_ = prepare(*otfs, size, weight=WEIGHT, wiener=WIENER, dtype=torch.float64)

    def ours() -> np.ndarray:
        found = [
            joined(filter_, upright([v[i : i + 1] for v in views], size, True), torch.from_numpy(coarse[i : i + 1]), True)
            for i in range(planes)
        ]
        return torch.cat(found).numpy()

    slow_planes = min(2, planes)

    def slow() -> np.ndarray:
        return np.stack([plane_by_plane(otfs, [v[i] for v in views], coarse[i], size) for i in range(slow_planes)])

    fast_s, slow_s = _alternately(ours, slow)
    error = np.abs(ours()[:slow_planes] - slow()).max() / slow().max()
    name = f"{size[0]} x {size[1]}"
    aim = ">= 30" if size == SIZES[0] else ""
    return [
        Row(f"{name}: one plane", 1e3 * fast_s / planes, "ms"),
        Row(f"{name}: preparing the filter for every plane, over that", slow_s / slow_planes / (fast_s / planes), "x", aim),
        Row(f"{name}: largest difference, of the maximum", float(error), "", "<= 1e-6"),
    ]


def _alternately(one: Callable[[], object], other: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    one()
    times: list[list[float]] = [[], []]
    for _ in range(repeats):
        for kept, run in zip(times, (one, other), strict=True):
            start = time.process_time()
            run()
            kept.append(time.process_time() - start)
    return min(times[0]), min(times[1])


def main() -> None:
    """Measure and print; with --save also keep it for the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planes", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rows = [
        row for size in SIZES for row in measure(size, max(2, min(asked.planes, 24 * 192**2 // (size[0] * size[1]) + 2)))
    ]
    for row in rows:
        print(f"{row.what:70s} {row.value:10.4g} {row.unit:3s} {row.target}")
    if asked.save:
        note = (
            "Transfer functions of 512 x 512. The aim was stated for planes of the size of the published test data; on "
            "larger ones most of the time is turning two views upright, which does not depend on the filter."
        )
        headline = f"joined planes {rows[1].value:.0f}x as fast as preparing the filter for each"
        save("fusion_wiener", rows, "python benchmarks/fusion_wiener.py --save", note, {"fusion.wiener": headline})


if __name__ == "__main__":
    main()
