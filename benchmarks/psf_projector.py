"""Full PSFs: what the cached projector saves over one FFT convolution per view and plane, and how soon an estimate is there.

    python benchmarks/psf_projector.py [--repeats 5] [--threads 1] [--device cpu] [--save]

The plain form transforms every plane and every PSF plane anew for every view, transforms each product back and adds the
planes up; gradients come from autograd. Both run in this process in turn and the fastest of each counts, so that the ratio
survives a busy machine. Blocks of one training step: the block's pixels plus the PSF's reach of volume around them.

The deconvolution is `deconvolution.lightfield_rl` as users run it, on beads seen through seven oblique Gaussian PSFs.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from recording import Row, save
from torch import Tensor

from napari_recon.core.compute import Compute
from napari_recon.core.events import BlockReady, PreviewReady
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.deconvolution.engine import LightFieldRL
from napari_recon.optics.psf_convolution import PsfProjector

#: Views, planes, block and PSF pixels: two of a training step, one of the published scene's block with fewer planes.
CASES = ((7, 11, 33, 17), (7, 21, 41, 33), (7, 25, 101, 51))


def plain(volume_zyx: Tensor, psf_vzyx: Tensor) -> Tensor:
    """Project 'valid': one FFT convolution per view and plane, nothing kept."""
    height, width = psf_vzyx.shape[-2:]
    size = [a + b - 1 for a, b in zip(volume_zyx.shape[-2:], psf_vzyx.shape[-2:], strict=True)]
    views = []
    for psf in psf_vzyx:
        total = torch.zeros(())
        for plane, kernel in zip(volume_zyx, psf, strict=True):
            product = torch.fft.rfft2(plane, s=size) * torch.fft.rfft2(kernel, s=size)
            whole = torch.fft.irfft2(product, s=size)
            total = total.to(whole.device) + whole[height - 1 : volume_zyx.shape[1], width - 1 : volume_zyx.shape[2]]
        views.append(total)
    return torch.stack(views)


def plain_batched(volume_zyx: Tensor, psf_vzyx: Tensor) -> Tensor:
    """Project 'valid': the planes of a view transformed together, nothing kept."""
    height, width = psf_vzyx.shape[-2:]
    size = [a + b - 1 for a, b in zip(volume_zyx.shape[-2:], psf_vzyx.shape[-2:], strict=True)]
    views = []
    for psf in psf_vzyx:
        product = torch.fft.rfft2(volume_zyx, s=size) * torch.fft.rfft2(psf, s=size)
        whole = torch.fft.irfft2(product, s=size).sum(dim=0)
        views.append(whole[height - 1 : volume_zyx.shape[1], width - 1 : volume_zyx.shape[2]])
    return torch.stack(views)


def forward_backward(project: Callable[[Tensor], Tensor], volume: Tensor) -> tuple[Tensor, Tensor]:
    volume = volume.detach().requires_grad_()
    views = project(volume)
    (gradient,) = torch.autograd.grad(views.square().sum(), volume)
    return views.detach(), gradient


def seconds(call: Callable[[], object], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(views: int, planes: int, block: int, kernel: int, repeats: int, device: str) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    size = block + kernel - 1
    psf = torch.rand(views, planes, kernel, kernel, generator=generator).to(device)
    psf /= psf.sum(dim=(1, 2, 3), keepdim=True)
    volume = torch.rand(planes, size, size, generator=generator).to(device)
    projector = PsfProjector.valid(psf, (size, size), device=device)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "plane by plane": lambda v: plain(v, psf),
        "view by view": lambda v: plain_batched(v, psf),
        "cached": projector.forward,
    }
    results = {name: forward_backward(way, volume) for name, way in ways.items()}
    times = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for name, way in ways.items():
            times[name] = min(times[name], seconds(lambda way=way: forward_backward(way, volume), device))
    exact = PsfProjector.valid(psf.double(), (size, size), dtype=torch.float64, device=device).forward(volume.double())
    difference = float((results["cached"][0] - results["plane by plane"][0]).abs().max())
    brightest = float(exact.max())
    error = {name: float((results[name][0] - exact).abs().max()) / brightest for name in ("cached", "plane by plane")}
    gradient = results["plane by plane"][1]
    slope = float((results["cached"][1] - gradient).abs().max() / gradient.abs().max())
    what = f"{planes} planes, block {block}, PSF {kernel}"
    return [
        Row(f"{what}: against plane by plane", times["plane by plane"] / times["cached"], "x", ">= 10"),
        Row(f"{what}: against view by view", times["view by view"] / times["cached"], "x"),
        Row(f"{what}: forward and backward", 1e3 * times["cached"], "ms"),
        Row(f"{what}: largest difference of views", difference, "", "<= 4e-7"),
        Row(f"{what}: the same, relative to their maximum", difference / brightest, "", "<= 8e-7"),
        Row(f"{what}: largest error of views against double precision, relative to their maximum", error["cached"], ""),
        Row(f"{what}: the same, plane by plane", error["plane by plane"], ""),
        Row(f"{what}: largest difference of gradients, relative to their maximum", slope, "", "<= 1e-6"),
    ]


def oblique_psf(views: int, planes: int, kernel: int) -> Tensor:
    """Return Gaussian PSFs in a hexagon of directions, shifted by half a pixel per plane and widening out of focus."""
    z = torch.arange(planes) - planes // 2
    place = torch.arange(kernel) - kernel // 2
    psf = torch.empty(views, planes, kernel, kernel)
    for view in range(views):
        angle = 2 * math.pi * view / (views - 1)
        y, x = (0.0, 0.0) if view == views - 1 else (0.5 * math.sin(angle), 0.5 * math.cos(angle))
        variance = 2 * (1 + (0.12 * z) ** 2)
        along_y, along_x = (torch.exp(-((place - s * z[:, None]) ** 2) / variance[:, None]) for s in (y, x))
        psf[view] = along_y[:, :, None] * along_x[:, None, :]
    return psf / psf.sum(dim=(2, 3), keepdim=True)


def deconvolution(update: str, threads: int, device: str) -> list[Row]:
    """Time a field of 99 x 99 pixels, 7 views and 21 planes from events: first look, first estimate, all."""
    generator = torch.Generator().manual_seed(0)
    psf, field = oblique_psf(7, 21, 31), (99, 99)
    truth = torch.zeros(21, *field)
    places = torch.rand(60, 3, generator=generator) * torch.tensor([17.0, 79.0, 79.0]) + torch.tensor([2.0, 10.0, 10.0])
    axes = [torch.arange(n) for n in truth.shape]
    for place in places:
        lines = [torch.exp(-((axis - p) ** 2) / 3) for axis, p in zip(axes, place, strict=True)]
        truth += lines[0][:, None, None] * lines[1][:, None] * lines[2]
    clean = PsfProjector.same(psf, field).forward(truth).clamp_min(0)
    views = torch.poisson(clean * (300 / clean.max()) + 2, generator=generator)
    stacks = {"views": ImageStack.of(views.numpy(), "VYX"), "psf": ImageStack.of(psf.numpy(), "VZYX")}
    refs = [InputRef(name=name, grid=stack.grid) for name, stack in stacks.items()]
    engine = LightFieldRL()
    params = {"update": update, "iterations": 12}
    plan = engine.plan(refs, params, compute=Compute(device=device, threads=threads))
    seen: list[float] = []
    volume = np.zeros(truth.shape, np.float32)
    start = time.perf_counter()
    for event in engine.run(plan, {name: [stack] for name, stack in stacks.items()}):
        if isinstance(event, PreviewReady | BlockReady):
            seen.append(time.perf_counter() - start)
            volume[event.slices] = event.array
    total = time.perf_counter() - start
    exact = truth.numpy()
    scaled = volume * ((volume * exact).sum() / (volume * volume).sum())
    quality = 10 * math.log10(exact.max() ** 2 / ((scaled - exact) ** 2).mean())
    what = f"lightfield_rl, 7 x 99 x 99, 21 planes, update={update}"
    return [
        Row(f"{what}: first look", seen[0], "s", "< 1"),
        Row(f"{what}: first estimate", seen[1], "s", "< 1"),
        Row(f"{what}: 12 iterations", total, "s"),
        Row(f"{what}: PSNR after 12 iterations", quality, "dB"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--save", action="store_true", help="keep the numbers in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [row for case in CASES for row in measure(*case, options.repeats, options.device)]
    deconvolution("plain", options.threads, options.device)  # first use loads what later ones find loaded
    for update in ("plain", "accelerated", "subsets"):
        rows += deconvolution(update, options.threads, options.device)
    for row in rows:
        print(f"{row.what:75s} {row.value:10.3g} {row.unit:3s} {row.target} {'' if row.met is None else row.met}")
    if options.save:
        save(
            "psf_projector",
            rows,
            "python benchmarks/psf_projector.py --save",
            "Volumes of the projector's cases are random between 0 and 1, views up to 0.5; the plain forms are what the "
            "cached one replaces. The deconvolution has a home advantage: its PSF is the one the views were simulated with.",
        )


if __name__ == "__main__":
    main()
