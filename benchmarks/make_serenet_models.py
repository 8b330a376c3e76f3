"""Make the built-in light-field networks: train them with `serenet.train`, store them with their cards, measure them.

python benchmarks/make_serenet_models.py                                        trains first (some hours on one core)
python benchmarks/make_serenet_models.py SERENET.safetensors F.safetensors      stores trained ones
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from recording import RESULTS
from safetensors.numpy import load_file, save_file

import napari_recon
from napari_recon.hub import ModelCard, sha256
from napari_recon.hub.menu import BUILT_IN
from napari_recon.hub.state import read_card

SEED = 1
EXAMPLES: dict[str, Any] = {"planes": 31, "crop": 30, "pool": 24, "renewal": 6, "precision": "mixed", "validate_every": 110}
RECIPES: dict[str, dict[str, Any]] = {
    "lightfield-serenet-small": {**EXAMPLES, "steps": 1500, "averaging": 0.98},
    "lightfield-fserenet-small": {
        **{**EXAMPLES, "network": "fserenet", "init": "lightfield-serenet-small", "steps": 1540, "averaging": 0.98},
        **{"learning_rate": 1.5e-3, "negative": 1.0, "freeze": False},
    },
}
TITLES = {
    "lightfield-serenet-small": "SeReNet, small (built in)",
    "lightfield-fserenet-small": "F-SeReNet, small (built in)",
}
METHODS = {"lightfield-serenet-small": "SeReNet (small)", "lightfield-fserenet-small": "F-SeReNet (small)"}
DATA = (
    "simulated light fields of microscope geometric-13 (63x, NA 1.4, 49 of 13 x 13 views, 3 x 3 scan, fine pixel 0.122 um, "
    "31 planes of 0.2 um, blur of 2 fine pixels): tubes, beads, bubbles by the published statistics, two of them together, "
    "clouds, cells and thin lines; 40 to 1500 photons in bright pixels, read noise 3"
)
HARDWARE = "one thread of a busy two-core x86-64 machine without accelerator, bfloat16"


def command(name: str) -> str:
    """Return what trains one of its kind."""
    settings = " ".join(f"--set {key}={value}" for key, value in RECIPES[name].items())
    return f"napari-recon train serenet.train -o {name}.safetensors --seed {SEED} {settings}"


def trained(folder: Path) -> list[Path]:
    """Return the files of networks trained by the recipes, the second from the first."""
    files: list[Path] = []
    for name, recipe in RECIPES.items():
        file = folder / f"{name}.safetensors"
        start = {"init": str(files[0])} if files else {}
        napari_recon.train("serenet.train", out=file, params={**recipe, **start}, seed=SEED)
        files.append(file)
    return files


def stored(name: str, file: Path, **told: str) -> ModelCard:
    """Put a trained network among the built-in models, as float16, and return its card."""
    own = read_card(file)
    weights = {key: array.astype(np.float16) for key, array in load_file(str(file)).items()}
    card = {key: own[key] for key in ("engine", "architecture", "options", "contract")}
    target = BUILT_IN / f"{name}.safetensors"
    save_file(weights, str(target), metadata={"card": json.dumps(card)})
    target.chmod(0o644)
    training = {key: value for key, value in own["training"].items() if key not in ("parameters", "init")}
    made = ModelCard(
        id=name,
        title=TITLES[name],
        file=target.name,
        sha256=sha256(target),
        licence="BSD-3-Clause",
        source="trained by this project on its own simulated recordings",
        training={"command": command(name), "data": DATA, "hardware": HARDWARE, **training, **told},
        **card,
    )
    target.with_suffix(".json").write_text(made.to_json(), encoding="utf-8")
    return made


def with_quality(name: str) -> None:
    """Add the measured numbers to a stored card, and say where Richardson-Lucy is better."""
    target = BUILT_IN / f"{name}.json"
    card = ModelCard.model_validate_json(target.read_text(encoding="utf-8"))
    rows = json.loads((RESULTS / "serenet_models.json").read_text(encoding="utf-8"))["rows"]
    values = {row["what"]: round(row["value"], 2) for row in rows}
    others = ("geometric-mean refocus", "Richardson-Lucy", METHODS[name])
    quality: dict[str, Any] = {
        what: value
        for what, value in values.items()
        if any(f", {method}:" in what or f": {method}" in what for method in others)
    }
    scenes = {what.partition(",")[0] for what in values if f", {METHODS[name]}: MIP" in what} - {"all scenes"}
    behind = sorted(
        scene for scene in scenes
        if values[f"{scene}, {METHODS[name]}: MIP PSNR"] < values[f"{scene}, Richardson-Lucy: MIP PSNR"]
    )  # fmt: skip
    quality["Richardson-Lucy is better (MIP PSNR) on"] = ", ".join(behind) or "none of the scenes"
    quality["test set"] = "python benchmarks/serenet_models.py"
    target.write_text(card.model_copy(update={"quality": quality}).to_json(), encoding="utf-8")


def main() -> None:
    """Train or take trained networks, store them, measure them, and store what was measured."""
    import serenet_models

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(file) for file in sys.argv[1:]] or trained(Path(folder))
        for name, file in zip(RECIPES, files, strict=False):
            stored(name, file)
    serenet_models.main([])
    for name in list(RECIPES)[: len(files)]:
        with_quality(name)


if __name__ == "__main__":
    main()
