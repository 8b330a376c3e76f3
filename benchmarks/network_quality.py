"""Quality of the published networks and of refocusing on the crops that lightfield_rl_quality.py uses.

python benchmarks/network_quality.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lightfield_rl_quality import CASES, PSF, Quality, case, parity_folder, quality
from numpy.typing import NDArray
from recording import Row, save

from napari_recon.core.compute import Compute
from napari_recon.core.events import BlockReady
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.hub import resolve

METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "SeReNet": ("serenet.reconstruct", "serenet", {}),
    "F-SeReNet": ("serenet.reconstruct", "fserenet", {}),
    "mean refocus": ("serenet.refocus", "", {"method": "mean"}),
    "geometric-mean refocus": ("serenet.refocus", "", {"method": "geometric"}),
}


def reconstruct(views: ImageStack, engine_name: str, network: str, params: dict[str, Any]) -> NDArray[np.float32]:
    """Return the volume of one method."""
    folder, engine = parity_folder(), registry.get(engine_name)
    model = resolve(folder / "upstream_weights" / f"{network}_pth" / "epoch-800.pth") if network else None
    ref = InputRef(name="views", uri="memory:views", grid=views.grid, dtype=str(views.dtype))
    plan = engine.plan([ref], {"psf_shift": str(folder / PSF), **params}, model=model, compute=Compute(device="cpu"))
    volume = np.zeros(plan.outputs[0].grid.shape, np.float32)
    for event in engine.run(plan, {"views": [views]}):
        if isinstance(event, BlockReady):
            volume[event.slices] = event.array
    return volume


def main() -> None:
    """Measure every method on every crop and record."""
    rows, best = [], {}
    for name in CASES:
        views, truth = case(name, parity_folder())
        for title, (engine, network, params) in METHODS.items():
            found: Quality = quality(reconstruct(views, engine, network, params), truth)
            best[title, name] = found.psnr
            rows += [
                Row(f"{name}, {title}: PSNR", found.psnr, "dB"),
                Row(f"{name}, {title}: SSIM", found.ssim),
                Row(f"{name}, {title}: correlation", found.corr),
                Row(f"{name}, {title}: PSNR of the maximum projection", found.mip_psnr, "dB"),
            ]
    first, second = CASES

    def both(title: str) -> str:
        return f"{best[title, first]:.1f} and {best[title, second]:.1f} dB PSNR"

    headlines = {
        "serenet.reconstruct": f"Simulated crops: SeReNet {both('SeReNet')}.",
        "serenet.refocus": f"Simulated crops: geometric mean {both('geometric-mean refocus')}.",
    }
    note = "The same crops and measure as for Richardson-Lucy below; the networks were trained with wave optics."
    save("network_quality", rows, "python benchmarks/network_quality.py", note, headlines)


if __name__ == "__main__":
    main()
