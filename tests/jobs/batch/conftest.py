"""Folders of short recordings, and a recipe for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from napari_recon.core.stack import ImageStack
from napari_recon.io import write_stack

SHAPE = (4, 10, 16, 24)


def recording(path: Path, seed: int, frames: int = SHAPE[0]) -> Path:
    array = np.random.default_rng(seed).integers(100, 400, (frames, *SHAPE[1:])).astype(np.uint16)
    size = dict.fromkeys("ZYX", 0.1)
    return write_stack(path, ImageStack.of(array, "TZYX", "cells", scale=size, units=dict.fromkeys("ZYX", "micrometer")))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two recordings in two folders."""
    for number, day in enumerate(("monday", "tuesday")):
        (tmp_path / "raw" / day).mkdir(parents=True)
        recording(tmp_path / "raw" / day / "cells.ome.tif", number)
    return tmp_path / "raw"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Background removal, as a recipe written by hand."""
    return _written(tmp_path / "background.recipe.yaml", _step("background"))


@pytest.fixture
def two_steps(tmp_path: Path) -> Path:
    """Background removal, and once more on what it gave."""
    again = _step("again", {"path": "step:background.clean"}, camera_offset=0.0)
    return _written(tmp_path / "twice.recipe.yaml", _step("background"), again)


def _step(name: str, source: dict[str, str] | None = None, camera_offset: float = 5.0) -> dict[str, object]:
    return {
        "id": name,
        "engine": "fusion.background",
        "params": {"preset": "SKL", "camera_offset": camera_offset},
        "inputs": {"raw": [source or {"path": "another.ome.tif", "axes": "TZYX"}]},
        "resolved": {"threads": 1, "whole_field": True, "whole_series": True},
    }


def _written(path: Path, *steps: dict[str, object]) -> Path:
    path.write_text(yaml.safe_dump({"schema": 1, "steps": list(steps)}))
    return path
