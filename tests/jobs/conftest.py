"""The toy engine, registered for the duration of a test, and images for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_recon.core.engine import EngineInfo, InputSpec, OutputInfo
from napari_recon.core.errors import OutOfMemory
from napari_recon.core.events import BlockReady, PreviewReady
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.io import write_stack
from tests.toy_engine import ToySmooth


class Steps(ToySmooth):
    """Yields a preview of everything, then one row per block; runs out of memory at `fail_at` rows."""

    fail_at = 10**9
    info = EngineInfo(
        name="toy.steps",
        kind="reconstruct",
        title="Steps",
        summary="Rows one by one",
        inputs=(InputSpec(name="image", axes="YX"),),
        outputs=(OutputInfo(name="smooth", axes="YX"),),
    )

    def resources(self, *args, **kwargs):
        return super().resources(*args, **kwargs).model_copy(update={"warnings": ("rows take a while",)})

    def process_frame(self, plan, frame, index, token):
        shape = plan.outputs[0].grid.shape[-2:]
        yield PreviewReady("smooth", (slice(0, shape[0]), slice(0, shape[1])), np.full(shape, 5.0, np.float32), 0)
        for row in range(shape[0]):
            token.check()
            if row == self.fail_at:
                raise OutOfMemory("the memory is full; choose smaller tiles")
            yield BlockReady("smooth", (slice(row, row + 1), slice(0, shape[1])), np.full((1, shape[1]), row + 1.0))


@pytest.fixture(autouse=True)
def toy() -> Iterator[ToySmooth]:
    engine, steps = ToySmooth(), Steps()
    registry.register("toy.smooth", engine)
    registry.register("toy.steps", steps)
    yield engine
    registry.unregister("toy.smooth")
    registry.unregister("toy.steps")


@pytest.fixture
def steps() -> Steps:
    return registry.get("toy.steps")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(100, 200, (3, 24, 32)).astype(np.uint16)


@pytest.fixture
def image_file(tmp_path: Path, image: np.ndarray) -> Path:
    stack = ImageStack.of(image, "TYX", "cells", scale={"Y": 0.5, "X": 0.5}, units={"Y": "micrometer", "X": "micrometer"})
    return write_stack(tmp_path / "my cells.ome.tif", stack)
