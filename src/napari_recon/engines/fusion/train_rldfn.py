"""fusion.train_rldfn: a fusion network from the views themselves, without any truth. No torch before a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event, Warned
from napari_recon.core.frames import Refs, read_frame
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.fusion.networks.rldfn_checkpoint import MULTIPLE
from napari_recon.engines.fusion.rldfn import features_of, same_grid
from napari_recon.engines.fusion.training.rldfn_params import TrainRlDfnParams

_LEAST = (28, 24, 28)
"""Smallest piece (z, y, x) that sections of some size fit into."""


class TrainRlDfn(WholeEngine[TrainRlDfnParams]):
    """Trains the networks of `fusion.rldfn` on registered pairs of views and their PSFs."""

    Params = TrainRlDfnParams
    makes = "uses whole volumes"
    instead = "crop the views first"
    info = EngineInfo(
        name="fusion.train_rldfn",
        kind="train",
        title="Train dual-view fusion",
        summary="A network for fusion.rldfn, self-supervised on your own pairs of views and their PSFs",
        inputs=(
            InputSpec(name="view_a", axes="ZYX", loops="T", many=True, description="first views to learn from"),
            InputSpec(name="view_b", axes="ZYX", loops="T", many=True, description="second views, one for each first"),
            InputSpec(name="psf_a", axes="ZYX", accepts=("psf",), loops="", description="PSF of the first views"),
            InputSpec(name="psf_b", axes="ZYX", accepts=("psf",), loops="", description="PSF of the second views"),
        ),
        outputs=(
            OutputInfo(
                name="preview",
                axes="YX",
                description="maximum along y: both views, one Richardson-Lucy step, the network; z downwards",
            ),
            OutputInfo(name="model", kind="model", description="the networks, for fusion.rldfn"),
        ),
        references=("10.5281/zenodo.13486221",),
    )

    def made(self, refs: Refs, params: TrainRlDfnParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        params.check_training()
        voxels = _check_views(refs)
        size = piece(refs, params)
        features = features_in(params)
        one = float(np.prod(size))
        preview = OutputSpec(name="preview", grid=Grid.of("YX", (size[0], 4 * size[2])))
        operations = 2.0 * 27 * features**2 * (4 + 2 + 18 / 8 + 40 / 64 + 2)
        return (preview,), Resources(
            tiles=params.steps,
            memory_bytes=int(2**28 + 8 * voxels + 4 * one * (features * 34 + 40)),
            work=3.0 * operations * one * params.batch_size * params.steps,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.engines.fusion.training.rldfn_task import RlDfnTask
        from napari_recon.hub import checkpoint_folder
        from napari_recon.optics.psf_checks import positive
        from napari_recon.training.loop import train

        params = self.params_of(plan)
        specs = {spec.name: spec for spec in self.info.inputs}
        pairs: list[NDArray[np.float32]] = []
        for a, b in zip(inputs["view_a"], inputs["view_b"], strict=True):
            for time in range(a.grid.size("T")):
                token.check()
                views = [read_frame(s, specs[n], {"T": time}) for n, s in (("view_a", a), ("view_b", b))]
                pairs.append(np.stack([view.clip(0) / max(float(view.max()), 1e-30) for view in views]))
        psfs = []
        for name in ("psf_a", "psf_b"):
            psf, said = positive(read_frame(inputs[name][0], specs[name], {}), name)
            psfs.append(psf)
            for sentence in said:
                yield Warned(sentence)
        by_name = {name: [ref for ref in plan.inputs if ref.name == name] for name in specs}
        resolved = params.model_copy(update={"patch": piece(by_name, params), "features": features_in(params)})
        task = RlDfnTask(resolved, plan.compute.seed, pairs, psfs)
        yield from train(task, resolved, plan.compute, checkpoint_folder(plan), token)


def piece(refs: Refs, params: TrainRlDfnParams) -> tuple[int, int, int]:
    """Return the size of a piece: as asked for, or what the smallest volume has, in whole multiples.

    Raises
    ------
    InputError
        Too small for sections.
    """
    grids = [ref.grid for ref in refs["view_a"] if ref.grid is not None]
    found = []
    for axis, asked, least in zip("ZYX", params.patch, _LEAST, strict=True):
        # zeros are appended along z, so that thin volumes do
        smallest = asked if axis == "Z" else min(grid.size(axis) for grid in grids)
        size = min(asked, smallest) // MULTIPLE * MULTIPLE
        if size < least:
            raise InputError(
                f"a piece to learn from should have at least {least} voxels along {axis.lower()}, found {size}; give larger "
                "volumes, or set a larger patch"
            )
        found.append(size)
    planes = min(grid.size("Z") for grid in grids) + 30
    return min(found[0], planes // MULTIPLE * MULTIPLE), found[1], found[2]


def features_in(params: TrainRlDfnParams) -> int:
    """Return the width of the networks: that of `init` or `resume`, or as asked for."""
    known = params.init or (params.resume if params.resume != "auto" else "")
    if known:
        from napari_recon.hub import resolve

        return features_of(resolve(known, "fusion.rldfn"))
    return params.features


def _check_views(refs: Refs) -> int:
    """Return how many voxels all pairs have (InputError for views that are no pairs)."""
    first, second = refs["view_a"], refs["view_b"]
    if len(first) != len(second):
        raise InputError(
            f"every first view needs its second, found {len(first)} of view_a and {len(second)} of view_b; give as many "
            "--input view_b=FILE as first ones, in the same order"
        )
    voxels = 0
    for a, b in zip(first, second, strict=True):
        for ref in (a, b):
            if ref.grid is None or set("ZYX") - set(ref.grid.axes) or set(ref.grid.axes) - set("TZYX"):
                found = ref.grid.axes if ref.grid else "no image"
                raise InputError(f"views should be volumes ZYX, or TZYX for a series, found {found} ({ref.label})")
        grid = same_grid(a, b)
        assert a.grid is not None and b.grid is not None
        times = a.grid.size("T"), b.grid.size("T")
        if times[0] != times[1]:
            raise InputError(f"both views should have as many time points, found {times[0]} and {times[1]}; cut one")
        voxels += times[0] * int(np.prod(grid.shape))
    return voxels
