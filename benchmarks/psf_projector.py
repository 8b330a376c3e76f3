"""How much the cached projector saves over one FFT convolution per view and plane, forward and backward together.

    python benchmarks/psf_projector.py [--repeats 5] [--threads 1] [--device cpu] [--save]

The plain form transforms every plane and every PSF plane anew for every view, transforms each product back and adds the
planes up; gradients come from autograd. Both run in this process in turn and the fastest of each counts, so that the ratio
survives a busy machine. Blocks of one training step: the block's pixels plus the PSF's reach of volume around them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from recording import Row, save
from torch import Tensor

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
    error = {name: float((results[name][0] - exact).abs().max()) for name in ("cached", "plane by plane")}
    gradient = results["plane by plane"][1]
    slope = float((results["cached"][1] - gradient).abs().max() / gradient.abs().max())
    what = f"{planes} planes, block {block}, PSF {kernel}"
    return [
        Row(f"{what}: against plane by plane", times["plane by plane"] / times["cached"], "x", ">= 10"),
        Row(f"{what}: against view by view", times["view by view"] / times["cached"], "x"),
        Row(f"{what}: forward and backward", 1e3 * times["cached"], "ms"),
        Row(f"{what}: largest difference of views", difference, "", "<= 4e-7"),
        Row(f"{what}: largest error of views against double precision", error["cached"], ""),
        Row(f"{what}: the same, plane by plane", error["plane by plane"], ""),
        Row(f"{what}: largest difference of gradients, relative to their maximum", slope, "", "<= 1e-6"),
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
    for row in rows:
        print(f"{row.what:75s} {row.value:10.3g} {row.unit:3s} {row.target} {'' if row.met is None else row.met}")
    if options.save:
        save(
            "psf_projector",
            rows,
            "python benchmarks/psf_projector.py --save",
            "One thread. Volumes are random between 0 and 1, views up to 0.5. The plain forms are what the cached one replaces.",
        )


if __name__ == "__main__":
    main()
