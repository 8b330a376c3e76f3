"""Make the built-in SIM network: train it with `sim.train`, store it with its card, measure it.

python benchmarks/make_sim_model.py                       trains first (an hour or two on one core)
python benchmarks/make_sim_model.py MODEL.safetensors     stores a trained one
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

ID = "sim-wiener-rcan"
RECIPE: dict[str, Any] = {
    "steps": 3200,
    "batch_size": 8,
    "renewal": 2,
    "precision": "mixed",
    "validate_every": 100,
    "held_out": 16,
}
SEED = 1
COMMAND = f"napari-recon train sim.train -o {ID}.safetensors --seed {SEED} " + " ".join(
    f"--set {name}={value}" for name, value in RECIPE.items()
)
DATA = (
    "simulated 3 x 3 recordings (make_example of engines/sim/simulator): filaments, membranes, dots, folds, cells, clouds; "
    "NA 1.2, 525 nm, pixels 0.5 to 1 of the largest that samples the OTF, |k| 0.4 to 0.97 of the cut-off, modulation 0.35 "
    "to 1, 60 to 10,000 photons, read noise 0.5 to 4, errors of phase, angle and intensity, slight aberrations; every one "
    "calibrated blindly"
)
HARDWARE = "one core of a busy two-core x86-64 machine without accelerator, 75 minutes, bfloat16"
HISTORY = (
    "the stored network was stopped and resumed at steps 1323, 1520 and 2144, with the schedule of 5000, 3600, 3000 and "
    "3200 steps, and the calibration of its examples was improved meanwhile: the command gives one of its kind, not its bits"
)


def trained(folder: Path) -> Path:
    """Return the file of a network trained by the recipe."""
    file = folder / f"{ID}.safetensors"
    napari_recon.train("sim.train", out=file, params=RECIPE, seed=SEED)
    return file


def stored(file: Path, history: str = "") -> ModelCard:
    """Put a trained network among the built-in models, as float16, and return its card."""
    own = read_card(file)
    weights = {name: array.astype(np.float16) for name, array in load_file(str(file)).items()}
    card = {name: own[name] for name in ("engine", "architecture", "options", "contract")}
    target = BUILT_IN / f"{ID}.safetensors"
    save_file(weights, str(target), metadata={"card": json.dumps(card)})
    target.chmod(0o644)
    training = {name: value for name, value in own["training"].items() if name != "parameters"}
    if history:
        training["history"] = history
    made = ModelCard(
        id=ID,
        title="RCAN on Wiener images (built in)",
        file=target.name,
        sha256=sha256(target),
        licence="BSD-3-Clause",
        source="trained by this project on its own simulated recordings",
        training={"command": COMMAND, "data": DATA, "hardware": HARDWARE, **training},
        **card,
    )
    target.with_suffix(".json").write_text(made.to_json(), encoding="utf-8")
    return made


def measured(card: ModelCard) -> ModelCard:
    """Write the recorded quality of the built-in network into its card."""
    rows = json.loads((RESULTS / "sim_model.json").read_text(encoding="utf-8"))["rows"]
    quality = {row["what"]: round(row["value"], 3) for row in rows if row["what"].startswith(("all simulated", "p"))}
    quality["test set"] = "python benchmarks/sim_model.py"
    made = card.model_copy(update={"quality": quality})
    (BUILT_IN / f"{ID}.json").write_text(made.to_json(), encoding="utf-8")
    return made


def main() -> None:
    """Train if no file is given, store, measure."""
    import sim_model

    with tempfile.TemporaryDirectory() as folder:
        card = stored(Path(sys.argv[1]), HISTORY) if len(sys.argv) > 1 else stored(trained(Path(folder)))
    sys.argv[1:] = []
    sim_model.main()
    measured(card)


if __name__ == "__main__":
    main()
