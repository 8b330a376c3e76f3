"""Check that a wheel is small and holds what must ship: manifest, type marker, sample data, models, licence."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

LARGEST_MB = 20
REQUIRED = (
    "napari_recon/napari.yaml",
    "napari_recon/py.typed",
    "napari_recon/samples/data/README.md",
    "napari_recon/samples/data/*.tif",
    "napari_recon/hub/models/*.json",
    "napari_recon/hub/models/*.safetensors",
    ".dist-info/licenses/LICENSE",
    ".dist-info/entry_points.txt",
)


def problems(wheel: Path) -> list[str]:
    """Return one sentence per thing that is wrong with `wheel`."""
    names = zipfile.ZipFile(wheel).namelist()
    found = [f"it lacks {wanted}" for wanted in REQUIRED if not any(_fits(name, wanted) for name in names)]
    found += [f"it holds {name}, a compiled leftover" for name in names if name.endswith((".pyc", ".pyo"))]
    size_mb = wheel.stat().st_size / 1e6
    if size_mb >= LARGEST_MB:
        found.append(f"it is {size_mb:.1f} MB large, which should be below {LARGEST_MB} MB")
    return found


def _fits(name: str, wanted: str) -> bool:
    folder, star, suffix = wanted.partition("*")
    return name.startswith(folder) and name.endswith(suffix) if star else name.endswith(wanted)


def main() -> int:
    """Check the wheel named on the command line; the exit status says whether it is fit."""
    wheel = Path(sys.argv[1])
    wrong = problems(wheel)
    for sentence in wrong:
        sys.stderr.write(f"{wheel.name}: {sentence}\n")
    sys.stdout.write(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
