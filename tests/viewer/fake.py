"""A light-field-like engine whose speed and failures are parameters."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Literal

import numpy as np

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, InputSpec, OutputInfo
from napari_recon.core.events import ArtifactReady, BlockReady, Decided, Event, MetricLogged, PreviewReady, Progress, Warned
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken

FINE = 2


class FakeParams(EngineParams):
    planes: int = param(3, "Planes.", ge=1)
    tile_size: int = param(0, "Tile.", ge=0)
    delay: float = param(0.0, "Seconds per plane, checked every 2 ms.", unit="s")
    deaf: bool = param(False, "Never look at the token.")
    previews: int = param(0, "Estimates before the blocks.")
    fail: Literal["none", "runtime", "memory", "value"] = param("none", "How to fail after the first plane.")


class Fake(FrameEngine[FakeParams]):
    """Every plane z is (z + 1) times the middle view, doubled in size; the second one waits for the `gate`."""

    uses_torch = False
    gate = threading.Event()
    gate.set()
    Params = FakeParams
    info = EngineInfo(
        name="fake.planes",
        kind="reconstruct",
        title="Planes",
        summary="Planes from the middle view",
        inputs=(InputSpec(name="views", axes="VYX", description="views"),),
        outputs=(OutputInfo(name="volume", axes="ZYX"),),
    )

    def outputs_of(self, refs: Refs, params: FakeParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        yx = refs["views"][0].grid.only("YX")
        fine = yx.resampled({a: FINE * yx.size(a) for a in "YX"})
        unit, step = yx.unit("Y"), yx.step("Y")
        depth = Grid.of("Z", (params.planes,), {"Z": step}, {"Z": -step * (params.planes - 1) / 2}, {"Z": unit})
        return (OutputSpec(name="volume", grid=depth.joined(fine)),)

    def resources(self, refs, params: FakeParams, model, box: Box, outputs, compute: Compute) -> Resources:
        size = params.tile_size or 64
        return Resources(tile={"y": size, "x": size}, tiles=params.planes, memory_bytes=1, work=1)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        params, box = self.params_of(plan), plan.selection.box
        assert isinstance(box, Box)
        (z0, z1), (y0, y1), (x0, x1) = box.z, box.y, box.x
        middle = frame["views"][len(frame["views"]) // 2]
        fine = middle.repeat(FINE, 0).repeat(FINE, 1)[y0:y1, x0:x1]
        yx = (slice(0, y1 - y0), slice(0, x1 - x0))
        if index == 0:
            yield Warned("intensities were left alone")
            yield Decided({"previews": params.previews})
        for step in range(params.previews):
            token.check()
            estimate = np.full((z1 - z0, *fine.shape), step + 1.0, np.float32)
            yield PreviewReady("volume", (slice(0, z1 - z0), *yx), estimate, step)
            yield MetricLogged("residual", step, 1 / (step + 1))
        for z in range(z0, z1):
            if z == z0 + 1 or (params.fail == "memory" and params.tile_size != 8):
                self._maybe_fail(params.fail)
            until = time.monotonic() + params.delay
            while time.monotonic() < until or (z > z0 and not self.gate.is_set()):
                if not params.deaf:
                    token.check()
                time.sleep(0.002)
            if not params.deaf:
                token.check()
            yield BlockReady("volume", (slice(z - z0, z - z0 + 1), *yx), (z + 1) * fine[None])
            yield Progress(z - z0 + 1, z1 - z0, "plane")
        yield ArtifactReady("summary", "table", [{"frame": index}])

    def _maybe_fail(self, how: str) -> None:
        if how == "runtime":
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        if how == "memory":
            raise MemoryError("cannot allocate 8 GiB")
        if how == "value":
            raise ValueError("something else")
