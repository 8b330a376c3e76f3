"""Multi-view Richardson-Lucy: what an iteration costs beside its transforms and beside other programs, and its quality.

    python benchmarks/multiview_rl.py [--repeats 5] [--save]

Times are processor time of one thread, the least of several alternating measurements, so that a busy machine does little to
the ratios. An iteration's time is that of eleven less that of one. The transforms' part of it is taken within the same run,
call by call. scikit-image and RedLionfish (on the CPU, by SciPy) get the same
float32 volume and PSF.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from recording import Row, save

sys.path.insert(0, str(Path(__file__).parent.parent))

import napari_recon
from napari_recon.engines.deconvolution.ordered_subsets import parts_of
from napari_recon.engines.deconvolution.richardson_lucy import Part, flat_start, iterate, sensitivity_weight
from napari_recon.engines.deconvolution.volumes.projector import VolumeViews
from tests.engines.deconvolution.volumes import beads_and_lines, oblique_psf, psnr, two_views

FIELDS = ((40, 64, 64), (64, 112, 112))
PEER_FIELDS = ((40, 64, 64), (48, 96, 96))
ITERATIONS = 11


def fastest(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    found = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            found[name] = min(found[name], time.process_time() - start)
    return found


@contextmanager
def clocked() -> Iterator[list[float]]:
    """Give a list whose only number is the time spent in Fourier transforms from here on."""
    spent = [0.0]
    plain = {name: getattr(torch.fft, name) for name in ("rfftn", "irfftn")}

    def timed(transform: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def call(*args: object, **named: object) -> torch.Tensor:
            start = time.process_time()
            result = transform(*args, **named)
            spent[0] += time.process_time() - start
            return result

        return call

    for name, transform in plain.items():
        setattr(torch.fft, name, timed(transform))
    try:
        yield spent
    finally:
        for name, transform in plain.items():
            setattr(torch.fft, name, transform)


def overhead(field: tuple[int, int, int], repeats: int) -> list[Row]:
    psfs = [torch.from_numpy(oblique_psf(angle)) for angle in (30.8, -30.8)]
    projector = VolumeViews(psfs, field, margin=(7, 4, 6))
    data = torch.poisson(100 * torch.rand(2, *field, generator=torch.Generator().manual_seed(0)))
    weight, seen = sensitivity_weight(projector, data, lambda: None)
    start = flat_start(data, 1.0, seen) * len(seen)
    schemes = {"sequential": parts_of(projector, data, 2, lambda: None), "additive": [Part(projector, data, weight)]}

    def run(parts: list[Part], iterations: int, accelerated: bool) -> tuple[float, float]:
        with clocked() as spent:
            begun = time.process_time()
            for _ in iterate(parts, background=1.0, iterations=iterations, start=start, accelerated=accelerated):
                pass
            return time.process_time() - begun, spent[0]

    rows = []
    for scheme, parts in schemes.items():
        for accelerated in (False, True):
            run(parts, 2, accelerated)
            found = [np.subtract(run(parts, ITERATIONS, accelerated), run(parts, 1, accelerated)) for _ in range(repeats)]
            whole, within = min(found, key=lambda times: times[0]) / (ITERATIONS - 1)
            what = f"{' x '.join(map(str, field))}, two views, {scheme}{', accelerated' if accelerated else ''}"
            rows.append(Row(f"{what}: iteration over its transforms", whole / within, "x", "<= 1.3"))
            rows.append(Row(f"{what}: iteration", 1e3 * whole, "ms"))
    return rows


def against_peers(field: tuple[int, int, int], repeats: int) -> tuple[list[Row], str]:
    from skimage.restoration import richardson_lucy

    psf = oblique_psf(0.0)
    truth = beads_and_lines(field)
    _, views, _ = two_views(truth, angles=(0.0,))
    image = views[0].astype(np.float32)
    scaled = image / image.max()

    def ours(n: int, update: str) -> None:
        params = {"iterations": n, "update": update}
        napari_recon.run("deconvolution.rl", image, params=params, inputs={"psf": psf}, threads=1)

    programs: dict[str, Callable[[int], object]] = {
        "ours": lambda n: ours(n, "plain"),
        "scikit-image": lambda n: richardson_lucy(scaled, psf, num_iter=n, clip=False),
    }
    missing = ""
    try:
        from RedLionfishDeconv.RLDeconv3DScipy import doRLDeconvolution12

        programs["RedLionfish"] = lambda n: doRLDeconvolution12(image, psf, niter=n)
    except ImportError:
        missing = " RedLionfish is not installed and was left out."
    calls = {f"{name} {n}": (lambda p=program, n=n: p(n)) for name, program in programs.items() for n in (1, ITERATIONS)}
    t = fastest(calls, repeats)
    each = {name: (t[f"{name} {ITERATIONS}"] - t[f"{name} 1"]) / (ITERATIONS - 1) for name in programs}
    what = f"{' x '.join(map(str, field))}, one view, PSF {' x '.join(map(str, psf.shape))}"
    rows = [
        Row(f"{what}: {name} over ours, per iteration", each[name] / each["ours"], "x", "> 1")
        for name in each
        if name != "ours"
    ]
    return [*rows, Row(f"{what}: ours", 1e3 * each["ours"], "ms")], missing


def quality() -> list[Row]:
    truth, views, psfs = two_views(beads_and_lines())
    what = "phantom 40 x 64 x 64"
    rows = [
        Row(f"{what}: best single view", max(psnr(view, truth) for view in views), "dB"),
        Row(f"{what}: mean of the views", psnr(views.mean(axis=0), truth), "dB"),
    ]
    aims = {("sequential", 20): ">= 35.9", ("sequential", 60): ">= 37.5"}
    for scheme in ("additive", "sequential"):
        for n in (10, 20, 60):
            params = {"scheme": scheme, "iterations": n}
            fused = napari_recon.run(
                "fusion.multiview_rl", inputs={"views": list(views), "psf": psfs}, params=params, threads=1
            )
            rows.append(
                Row(f"{what}: {scheme}, {n} iterations", psnr(fused["volume"], truth), "dB", aims.get((scheme, n), ""))
            )
    fused = napari_recon.run("fusion.multiview_rl", inputs={"views": list(views), "psf": psfs}, threads=1)
    n = fused.artifacts["report"]["iterations"]
    rows.append(Row(f"{what}: automatic (accelerated, stopped after {n})", psnr(fused["volume"], truth), "dB"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="keep the numbers in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []

    def keep(found: list[Row]) -> None:
        rows.extend(found)
        for row in found:
            verdict = "" if row.met is None else row.met
            print(f"{row.what:95s} {row.value:10.4g} {row.unit:3s} {row.target} {verdict}", flush=True)

    keep(quality())
    missing = ""
    for field in PEER_FIELDS:
        found, missing = against_peers(field, options.repeats)
        keep(found)
    for field in FIELDS:
        keep(overhead(field, options.repeats))
    if options.save:
        fused = next(row for row in rows if "sequential, 20 iterations" in row.what)
        best = next(row for row in rows if "best single view" in row.what)
        headline = f"{fused.value:.1f} dB after 20 iterations where the better of two oblique views has {best.value:.1f} dB"
        save(
            "multiview_rl",
            rows,
            "python benchmarks/multiview_rl.py --save",
            "The phantom (beads and lines, two Gaussian PSFs of 1.1 and 2.8 voxels tilted by +-30.8 degrees, Poisson noise "
            "with 200 photons at the brightest) is rebuilt from a description; its views were made with the PSFs that the "
            f"fusion knows. Times are processor time of one thread.{missing}",
            {"fusion.multiview_rl": headline},
        )


if __name__ == "__main__":
    main()
