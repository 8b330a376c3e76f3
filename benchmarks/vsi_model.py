"""Train a small VSI-SR network on phantoms and measure it on others, beside enlarging and deconvolution.

It is what decided that no such network is built in; see docs/engines/fusion.md.

python benchmarks/vsi_model.py                        trains first (half an hour on a core of its own)
python benchmarks/vsi_model.py MODEL.safetensors      measures one that is trained
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from scipy import ndimage
from scipy.signal import fftconvolve
from vsi_phantoms import SCALE, Example, Volume, example

import napari_recon
from napari_recon.core.stack import ImageStack
from napari_recon.metrics import compare

SEEDS = range(1000, 1006)
LEARNT = range(36)
RECIPE = {
    "method": "supervised", "steps": 850, "batch_size": 8, "patch": 48, "blocks": 6, "features": 24, "learning_rate": 1e-3,
    "warmup": 0.03, "validate_every": 50, "spectrum_weight": 0.0, "label_blur": 0.0, "averaging": 0.99,
}  # fmt: skip
EDGE = np.s_[:, 6:-6, 6:-6]


def trained(out: Path) -> Path:
    """Return the file of a network that learnt from phantoms."""
    cases = [example(seed) for seed in LEARNT]
    pairs = {"stack": [case.stack for case in cases], "truth": [case.sharp for case in cases]}
    napari_recon.train("fusion.train_vsi", out=out, inputs=pairs, params=RECIPE, seed=1)
    return out


def results(case: Example, model: str) -> Iterator[tuple[str, Volume, Volume]]:
    """Yield (method, result, what it should be) for one recording."""
    scale = dict(zip("ZYX", case.voxel_um, strict=True))
    optics = {"na": (case.optics[0],), "wavelength_um": (case.optics[1],)}
    stack = ImageStack.of(case.stack, "ZYX", "stack", scale=scale, units=dict.fromkeys("ZYX", "micrometer"))
    stack = ImageStack(stack.data, stack.grid, "stack", metadata={"optics": optics})
    yield "enlarged", enlarged(case.stack)[3:-3], case.isotropic[3:-3]
    psf = ImageStack.of(case.psf, "ZYX", "psf", scale=scale, units=dict.fromkeys("ZYX", "micrometer"))
    solved = napari_recon.run("deconvolution.rl", inputs={"views": [stack], "psf": [psf]}, threads=1)["volume"]
    fine = enlarged(solved)
    yield "deconvolution.rl", fine[3:-3], case.isotropic[3:-3]
    # what is deconvolved wholly is seen through the PSF that the truth has, along z too: only so can the two be compared
    yield "deconvolution.rl, through the truth's PSF", fftconvolve(fine, case.narrow_psf, "same")[3:-3], case.isotropic[3:-3]
    yield "enlarged, along x", enlarged(case.stack)[3:-3], case.sharp[3:-3]
    one = napari_recon.run("fusion.vsi_sr", stack, model=model, params={"orientations": 1}, threads=1)["sr"]
    yield "network, along x", one, case.sharp[3:-3]
    three = napari_recon.run("fusion.vsi_sr", stack, model=model, threads=1)["sr"]
    yield "network, three orientations", three, case.isotropic[3:-3]


def enlarged(volume: Volume) -> Volume:
    """Return planes at 1.5 times the pixels, by cubic splines."""
    size = round(volume.shape[1] * SCALE)
    at = (np.arange(size) + 0.5) / SCALE - 0.5
    places = np.meshgrid(np.arange(len(volume)), at, at, indexing="ij")
    found: Volume = ndimage.map_coordinates(volume, places, order=3, mode="nearest")
    return found


def main() -> None:
    """Print PSNR and correlation after fitting gain and offset, the mean over all phantoms."""
    model = sys.argv[1] if len(sys.argv) > 1 else str(trained(Path(mkdtemp()) / "vsi.safetensors"))
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in SEEDS:
        for name, result, truth in results(example(seed, isotropic=True), model):
            one = compare(result[EDGE], truth[EDGE], align="affine")
            found.setdefault(name, []).append((one["psnr"], one["corr"]))
            print(f"{seed} {name}: {one['psnr']:.2f} dB, correlation {one['corr']:.3f}", flush=True)
    for name, values in found.items():
        psnr, corr = np.mean(values, axis=0)
        print(f"{name}: {psnr:.2f} dB, correlation {corr:.3f}")


if __name__ == "__main__":
    main()
