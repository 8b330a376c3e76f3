"""A complete engine in one page: two inputs, an image, a table and a model output; it trains and runs live.

CONTRIBUTING.md walks through this file.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import uniform_filter

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, InputSpec, OutputInfo
from napari_recon.core.events import ArtifactReady, BlockReady, Event, MetricLogged, Progress
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.tiling.partition import tiles

UPSAMPLING = 2


class ToyParams(EngineParams):
    """Parameters of `toy.smooth`."""

    radius: int = param(1, "Half width of the averaging window.", unit="pixel", ge=0, le=20, live=True)
    tile_size: int = param(0, "Largest tile; 0 takes the whole field.", unit="pixel", ge=0, advanced=True)
    training_steps: int = param(0, "Steps of the fit between image and background; 0 fits nothing.", ge=0)


class ToySmooth(FrameEngine[ToyParams]):
    """Averages a window around each pixel, subtracts a background and doubles the sampling."""

    uses_torch = False
    Params = ToyParams
    info = EngineInfo(
        name="toy.smooth",
        kind="reconstruct",
        title="Smooth",
        summary="Local mean on a twice finer grid",
        inputs=(
            InputSpec(name="image", axes="YX", description="the image"),
            InputSpec(name="background", axes="YX", required=False, description="an image to subtract"),
        ),
        outputs=(
            OutputInfo(name="smooth", kind="image", axes="YX"),
            OutputInfo(name="brightness", kind="table"),
            OutputInfo(name="gain", kind="model"),
        ),
        halo="radius pixels",
        roi_tolerance=1e-6,
        live=True,
    )

    def outputs_of(self, refs: Refs, params: ToyParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        grid = refs["image"][0].grid.only("YX")  # type: ignore[union-attr]
        fine = grid.resampled({a: UPSAMPLING * grid.size(a) for a in "YX"})
        return (OutputSpec(name="smooth", grid=fine),)

    def resources(
        self,
        refs: Refs,
        params: ToyParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        size = params.tile_size * UPSAMPLING or max(outputs[0].grid.shape)
        pieces = tiles(box, outputs[0].grid, {"Y": size, "X": size}, multiple={"Y": UPSAMPLING, "X": UPSAMPLING})
        pixels = int(np.prod(box.shape()))
        return Resources(
            tile={"y": size, "x": size},
            tiles=len(pieces),
            memory_bytes=16 * pixels,
            work=pixels * (2.0 * params.radius + 1) ** 2,
        )

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        params, fine, box = self.params_of(plan), plan.whole["smooth"], plan.selection.box
        assert isinstance(box, Box)
        yx = frame["image"] if frame["background"] is None else frame["image"] - frame["background"]
        coarse = fine.resampled({a: fine.size(a) // UPSAMPLING for a in "YX"})
        size = dict.fromkeys("YX", plan.resources.tile["y"])
        pieces = tiles(box, fine, size, multiple=dict.fromkeys("YX", UPSAMPLING))
        for number, tile in enumerate(pieces):
            token.check()
            # averaging happens on the image's own pixels, so the tile is widened to whole pixels plus the window
            core = tile.core.mapped(fine, coarse).clipped(coarse)
            read = core.expanded(dict.fromkeys("YX", params.radius), coarse)
            mean = uniform_filter(yx[read.slices("YX")], 2 * params.radius + 1, mode="nearest")
            doubled = mean.repeat(UPSAMPLING, 0).repeat(UPSAMPLING, 1)
            yield BlockReady("smooth", tile.core.within(box), doubled[tile.core.within(read.mapped(coarse, fine))])
            yield Progress(number + 1, len(pieces), "tile")
        yield ArtifactReady("brightness", "table", [{"frame": index, "mean": float(yx.mean())}])
        if params.training_steps:
            yield from self._train(yx, params.training_steps, token)

    def _train(self, yx: np.ndarray, steps: int, token: CancelToken) -> Iterator[Event]:
        gain = 0.0
        for step in range(steps):
            token.check()
            gain += 0.5 * float((yx * (yx - gain * yx)).mean() / (yx**2).mean())
            yield MetricLogged("loss", step, (1 - gain) ** 2)
        yield ArtifactReady(
            "gain", "model", {"state": {"gain": np.array([gain], np.float32)}, "card": {"engine": "toy.smooth"}}
        )
