"""SeReNet and F-SeReNet against the volumes that the authors' published code and weights give.

    python benchmarks/serenet_parity.py [FOLDER]

FOLDER holds the fixtures (default: $NAPARI_RECON_PARITY, else ../shared/parity, and in it ``serenet``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from lightfield_rl_quality import PSF, parity_folder
from numpy.typing import NDArray
from recording import Row, save

from napari_recon.core.compute import Compute
from napari_recon.core.events import BlockReady
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.serenet.engine import Reconstruct
from napari_recon.hub import resolve

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "serenet_small": ("serenet", {"planes": 33}),
    "serenet_odd": ("serenet", {"planes": 9}),
    "serenet_full_depth": ("serenet", {}),
    "serenet_patched": ("serenet", {"planes": 11, "compat": "upstream", "tile_size": 27, "overlap": 9}),
    "fserenet_small": ("fserenet", {"planes": 33}),
}
TILED, TILES = "serenet_patched", (9, 16, 27)


def reconstruct(folder: Path, case: str, network: str, **params: Any) -> NDArray[np.float32]:
    """Return the volume of a case."""
    stack = ImageStack.of(tifffile.imread(folder / case / "lf_views169.tif"), "VYX", case)
    engine, model = Reconstruct(), resolve(folder / "upstream_weights" / f"{network}_pth" / "epoch-800.pth")
    ref = InputRef(name="views", uri=case, grid=stack.grid, dtype=str(stack.dtype))
    plan = engine.plan([ref], {"psf_shift": str(folder / PSF), **params}, model=model, compute=Compute(device="cpu"))
    volume = np.zeros(plan.outputs[0].grid.shape, np.float32)
    for event in engine.run(plan, {"views": [stack]}):
        if isinstance(event, BlockReady):
            volume[event.slices] = event.array
    return volume


def expected(folder: Path, case: str, volume: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what was found and what should be, as far as the fixture stores it."""
    if (folder / case / "expected.npz").exists():
        return volume, np.load(folder / case / "expected.npz")["volume"]
    summary = np.load(folder / case / "expected_summary.npz")
    return volume.ravel()[summary["sample_index"]], summary["sample_value"]


def main() -> None:
    """Compare every case, and tiles with the untiled volume; record."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else parity_folder()
    rows = []
    for case, (network, params) in CASES.items():
        found, wanted = expected(folder, case, reconstruct(folder, case, network, **params))
        largest = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        relative = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
        rows.append(Row(f"`{case}`: largest difference / maximum", largest, "", "<= 1e-3"))
        rows.append(Row(f"`{case}`: relative L2 difference", relative, "", "<= 1e-4"))
    for network in ("serenet", "fserenet"):
        whole = reconstruct(folder, TILED, network, planes=11, tile_size=1000)
        for size in TILES:
            tiled = reconstruct(folder, TILED, network, planes=11, tile_size=size)
            largest = float(np.abs(tiled - whole).max() / whole.max())
            rows.append(
                Row(f"{network}, exact tiles of {size}: largest difference from untiled / maximum", largest, "", "<= 1e-5")
            )
    save("parity", rows, "python benchmarks/serenet_parity.py", headlines={"serenet.reconstruct": headline(rows)})


def headline(rows: list[Row]) -> str:
    """Return the sentence for the table of engines."""
    published = max(row.value for row in rows if row.target == "<= 1e-3")
    tiles = max(row.value for row in rows if row.target == "<= 1e-5")
    return (
        f"Equals the authors' code on {len(CASES)} cases within {published:.0e} of the maximum; "
        f"any tile size gives the same volume{f' within {tiles:.0e}' if tiles else ', bit for bit'}."
    )


if __name__ == "__main__":
    main()
