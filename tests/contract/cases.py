"""Which example stands for which engine; a variant is named after a slash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

from napari_recon.core.stack import ImageStack
from tests.toy_engine import ToySmooth

from .examples import Example


def _counts(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Smooth random counts, whole numbers, so that every dtype holds them exactly."""
    rng = np.random.default_rng(seed)
    return np.round(100 + 50 * rng.random(shape)).astype(np.uint16)


def _toy() -> Example:
    geometry = {"scale": {"T": 2.0, "Y": 0.5, "X": 0.5}, "translate": {"Y": 3.0}}
    image = ImageStack.of(_counts((3, 25, 31)), "TYX", "toy", **geometry)
    background = ImageStack.of(_counts((25, 31), 1), "YX", "background", **geometry)
    return Example(
        ToySmooth(),
        {"image": image, "background": background},
        {"radius": 2, "training_steps": 3},
        tilings=({"tile_size": 7}, {"tile_size": 30}),
    )


def _simulate() -> Example:
    from napari_recon.engines.simulate.engine import LightField

    small = {"frames": 2, "height": 9, "width": 12, "planes": 5, "tubes": 2, "beads": 2, "bubbles": 0}
    return Example(LightField(), {}, small)


def _simulate_sim(**params: object) -> Example:
    from napari_recon.engines.simulate.sim import SimulateSim

    return Example(SimulateSim(), {}, {"frames": 2, "height": 33, "width": 24, "margin": 8, **params})


def _simulate_projections() -> Example:
    from napari_recon.engines.simulate.projections import Projections

    return Example(Projections(), {}, {"size": 16, "slices": 6, "thickness": 12, "angles": "-60:60:20"})


def _phantom(**params: object) -> Example:
    from napari_recon.engines.simulate.phantom_engine import SimulatePhantom

    small = {"frames": 2, "planes": 7, "height": 20, "width": 24, "speed": 1.0}
    return Example(SimulatePhantom(), {}, {**small, **params})


def _movie() -> Example:
    from napari_recon.engines.simulate.movie import SimulateMovie

    return Example(SimulateMovie(), {}, {"frames": 3, "planes": 7, "height": 20, "width": 24, "cells": 3})


def _flfm_psf() -> Example:
    from napari_recon.engines.simulate.flfm_psf import FlfmPsf
    from tests.engines.simulate.microscopes import SMALL

    return Example(FlfmPsf(), {}, SMALL)


def _dual_view() -> Example:
    from napari_recon.engines.simulate.dual_view import DualView

    return Example(DualView(), {}, {"frames": 2, "planes": 10, "height": 16, "width": 18, "voxel_um": 0.2})


def _llsm(**params: object) -> Example:
    from napari_recon.engines.simulate.llsm import Llsm

    small = {"planes": 12, "height": 10, "width": 30, "pixel_um": 0.2, "step_um": 0.4}
    return Example(Llsm(), {}, {**small, **params})


def _lfm_psf() -> Example:
    from napari_recon.engines.simulate.lfm_psf import LfmPsf

    return Example(LfmPsf(), {}, {"na": 1.0, "depth_from_um": -1.0, "depth_to_um": 1.0})


def _lightfield_rl() -> Example:
    from napari_recon.engines.deconvolution.engine import LightFieldRL
    from tests.engines.deconvolution.scenes import beads, views_of

    volume = beads((18, 21), planes=5, count=6)
    movie = np.stack([views_of(volume.flip(axis), (18, 21), seed=axis) for axis in (0, 1, 2)]).astype(np.uint16)
    geometry = {"scale": {"T": 2.0, "Y": 0.5, "X": 0.5}, "translate": {"Y": 3.0}}
    views = ImageStack.of(movie, "TVYX", "views", **geometry)
    return Example(LightFieldRL(), {"views": views}, {"planes": 5, "voxel": "half", "iterations": 4})


def _lightfield_rl_automatic() -> Example:
    fixed = _lightfield_rl()
    views = fixed.main
    two = ImageStack(np.asarray(views.data)[:2], views.grid.cropped({"T": (0, 2)}), views.name)
    return Example(fixed.engine, {"views": two}, {"planes": 5, "voxel": "half", "refine_views": True})


def _lightfield_rl_psf() -> Example:
    from napari_recon.engines.deconvolution.engine import LightFieldRL
    from tests.engines.deconvolution.flfm import stacks

    movie = [stacks(seed=seed)["views"] for seed in (0, 1)]
    grid = movie[0].grid
    geometry = {"scale": {"Y": grid.step("Y"), "X": grid.step("X")}, "units": dict.fromkeys("YX", "micrometer")}
    views = ImageStack.of(np.stack([np.asarray(frame.data) for frame in movie]), "TVYX", "views", **geometry)
    return Example(
        LightFieldRL(), {"views": views, "psf": stacks()["psf"]}, {"iterations": 4, "update": "subsets", "tv": 0.01}
    )


def _volume_rl(name: str, **params: object) -> Example:
    from napari_recon.engines import registry
    from tests.engines.deconvolution.volumes import beads_and_lines, stack, two_views

    truth = beads_and_lines((10, 18, 20), beads=5, lines=2, edge=2)
    movie = np.stack([two_views(np.roll(truth, t, axis=2), seed=t, radius=4)[1] for t in (0, 2, 0)])
    _, _, psfs = two_views(truth, radius=4)
    views = stack(movie.astype(np.uint16), "TVZYX", T=2.0)
    stacks = {"views": views, "psf": stack(np.stack(psfs), "VZYX")}
    tilings = ({"tile_size": 8},)
    return Example(registry.get(name), stacks, {"iterations": 3, **params}, tilings, tile_tolerance=0.05)


def _serenet(architecture: str) -> Example:
    from tests.engines.serenet.examples import reconstruct

    return reconstruct(architecture)


def _realign(**params: object) -> Example:
    from tests.engines.serenet.lenslet_pictures import example

    return example(**params)


def _prestep(name: str) -> Example:
    from tests.engines.serenet import examples

    return getattr(examples, name)()


def _refocus() -> Example:
    from tests.engines.serenet.examples import refocus

    return refocus()


def _fit() -> Example:
    from tests.engines.lightfield_inr.scenes import example

    return example()


def _fast_fit(**params: object) -> Example:
    from tests.engines.lightfield_inr.scenes import fast_example

    return fast_example(2, **{"transfer": "never", **params})


def _transferred_fit() -> Example:
    return replace(_fast_fit(transfer="auto"), chained=True)


def _meta() -> Example:
    from tests.engines.lightfield_inr.scenes import meta_example

    return meta_example()


def _projections_fit(frames: int = 2, **params: object) -> Example:
    from tests.engines.lightfield_inr.test_tomography import example

    return example(frames, **{"transfer": "never", **params})


def _fpm_fit() -> Example:
    from tests.engines.lightfield_inr.test_ptychography import example

    return example()


def _projections_network() -> Example:
    from tests.engines.lightfield_inr.test_tomography import NETWORK, example

    return example(1, **NETWORK)


def _query(kind: str, **params: object) -> Example:
    from tests.engines.lightfield_inr.fields import example

    return example(kind, **params)


def _inr4d_query(kind: str, **params: object) -> Example:
    from tests.engines.inr4d.recordings import query_example

    return query_example(kind, **params)


def _inr4d_fit(**params: object) -> Example:
    from tests.engines.inr4d.recordings import fit_example

    return fit_example(**params)


def _sirt(**params: object) -> Example:
    from tests.engines.tomography.phantoms import example

    return example(2, **params)


def _sim_wiener(**params: object) -> Example:
    from napari_recon.engines.sim.wiener import SimWiener
    from tests.engines.sim.sim_data import simulate

    sets = [simulate(seed, n=64, kind="texture", photons=2000) for seed in (0, 0, 0)]
    movie = np.stack([np.roll(s.frames, t, axis=-1) if t == 2 else s.frames for t, s in enumerate(sets)])
    geometry = {
        "scale": {"T": 2.0, "Y": 0.065, "X": 0.065},
        "translate": {"Y": 3.0},
        "units": {"Y": "micrometer", "X": "micrometer"},
    }
    raw = ImageStack.of(movie.astype(np.uint16), "TNYX", "raw", **geometry)
    return Example(SimWiener(), {"raw": raw}, {"na": 1.2, "wavelength_um": 0.525, **params})


def _sim_residual(**params: object) -> Example:
    from napari_recon.engines.sim.residual import SimResidual

    wiener = _sim_wiener()
    plan = wiener.plan()
    image = ImageStack(wiener.result(plan).astype(np.float32), plan.outputs[0].grid, "sr")
    optics = {"na": 1.2, "wavelength_um": 0.525}
    return Example(SimResidual(), {**wiener.stacks, "reconstruction": image}, {**optics, **params})


def _sim_network(network: str) -> Example:
    from tests.engines.sim.network_examples import example

    return example(network)


def _sim_network_wiener() -> Example:
    from tests.engines.sim.test_network_wiener_front import case

    return replace(case(), tilings=({"tile_size": 6},))


def _sim_train() -> Example:
    from napari_recon.engines.sim.train import Train

    small = {"steps": 4, "batch_size": 2, "groups": 1, "blocks": 1, "features": 4, "crop": 16, "field": 48, "pool": 2}
    easy = {"held_out": 1, "validate_every": 2, "checkpoint_every": 2, "photons_from": 3000, "calibration": "true"}
    return Example(Train(), {}, {**small, **easy})


def _serenet_train() -> Example:
    from napari_recon.engines.serenet.train import Train

    small = {"steps": 4, "planes": 3, "crop": 9, "field": 9, "pool": 2, "held_out": 1}
    return Example(Train(), {}, {**small, "validate_every": 2, "checkpoint_every": 2, "photons_from": 500})


def _sim_wiener3d() -> Example:
    from napari_recon.engines.sim.wiener3d import SimWiener3D
    from tests.engines.sim.volume_data import ThreeBeam, simulate_volume

    stack = simulate_volume(0, n=96, planes=6, angles=2, photons=5000)
    return Example(SimWiener3D(), {"raw": ThreeBeam.raw(stack)}, ThreeBeam.params)


def _vsi_sr(**params: object) -> Example:
    from tests.engines.fusion.vsi import vsi_example

    return vsi_example(**params)


def _joint_wiener(**params: object) -> Example:
    from tests.engines.fusion.vsi import wiener_example

    return wiener_example(**params)


def _background() -> Example:
    from napari_recon.engines.fusion.background import Background
    from tests.engines.fusion.skewed import stack

    params = {"preset": "SKL", "camera_offset": 5.0}
    return Example(Background(), {"raw": stack(frames=2, noise=1.0)}, params, tilings=({"tile_size": 5}, {"tile_size": 1}))


def _deskew(tilings: tuple[dict[str, int], ...] = ({"tile_size": 5}, {"tile_size": 1}), **params: object) -> Example:
    from napari_recon.engines.fusion.deskew import Deskew
    from tests.engines.fusion.skewed import stack

    raw = stack(frames=2, shape=(20, 18, 40), noise=1.0, skew_axis=str(params.get("skew_axis", "x")))
    return Example(Deskew(), {"raw": raw}, params, tilings=tilings, reshaped=str(params.get("skew_axis", "x")).upper())


def _train_vsi(**params: object) -> Example:
    from tests.engines.fusion.test_train_vsi import example

    return example(2, **params)


def _train_rldfn() -> Example:
    from tests.engines.fusion.test_train_rldfn import example

    return example()


def _rldfn() -> Example:
    from tests.engines.fusion.rldfn import example

    return example((10, 16, 20))


def _pipeline(**params: object) -> Example:
    from tests.engines.fusion.chain import example

    return example(**params)


def _split_views() -> Example:
    from napari_recon.engines.fusion.split_views import SplitViews
    from tests.engines.fusion.mirrored import stack, truth, volume

    true = truth(shape=(30, 40, 48), mirror=1.0)
    series = np.stack([volume(true, count=25, seed=seed, depth=12) for seed in (0, 1)])
    return Example(SplitViews(), {"volume": stack(series)}, {"angle_range": (-0.2, 0.2)})


def _seeded(**params: object) -> Example:
    from tests.engines.segmentation.cells import example

    return example(2, **params)


_MAKERS: dict[str, Callable[[], Example]] = {
    "toy.smooth": _toy,
    "simulate.lightfield": _simulate,
    "simulate.phantom": _phantom,
    "simulate.movie": _movie,
    "simulate.phantom/tissue": lambda: _phantom(kind="tissue", velocity_um_s=(0.0, 2.0, 0.0)),
    "simulate.flfm_psf": _flfm_psf,
    "simulate.lfm_psf": _lfm_psf,
    "simulate.projections": _simulate_projections,
    "simulate.dual_view": _dual_view,
    "simulate.llsm": _llsm,
    "simulate.llsm/glass": lambda: _llsm(mirror=False, frames=2),
    "simulate.sim": _simulate_sim,
    "simulate.sim/upstream": lambda: _simulate_sim(compat="upstream", frames=1),
    "deconvolution.lightfield_rl": _lightfield_rl,
    "deconvolution.lightfield_rl/automatic": _lightfield_rl_automatic,
    "deconvolution.lightfield_rl/psf": _lightfield_rl_psf,
    "tomography.sirt": _sirt,
    "tomography.sirt/fbp": lambda: _sirt(method="fbp", signal="transmission", axis="x", centre=0.5),
    "deconvolution.rl": lambda: _volume_rl("deconvolution.rl", scheme="additive", tv=0.01),
    "fusion.multiview_rl": lambda: _volume_rl("fusion.multiview_rl"),
    "fusion.multiview_rl/automatic": lambda: _volume_rl("fusion.multiview_rl", iterations="auto", tile_size=8),
    "sim.train": _sim_train,
    "sim.wiener": _sim_wiener,
    "sim.wiener/each": lambda: _sim_wiener(calibrate_on="each", mcnr=True, widefield=True),
    "sim.residual": _sim_residual,
    "sim.residual/frames": lambda: _sim_residual(frames=True, background_um=0.0),
    "sim.network": lambda: _sim_network("rcan"),
    "sim.network/2x": lambda: _sim_network("rcan 2x"),
    "sim.network/wiener": _sim_network_wiener,
    "lightfield_inr.fit": _fit,
    "lightfield_inr.fit/fast": _fast_fit,
    "lightfield_inr.fit/transfer": _transferred_fit,
    "lightfield_inr.fit/refine_views": lambda: _fast_fit(refine_views=True),
    "lightfield_inr.fit/held_out": lambda: _fast_fit(held_out=1),
    "lightfield_inr.meta": _meta,
    "lightfield_inr.fit/opt": _projections_fit,
    "lightfield_inr.fit/cryo_et": lambda: _projections_fit(1, modality="cryo_et", axis="x", thickness=6),
    "lightfield_inr.fit/fpm": _fpm_fit,
    "lightfield_inr.fit/opt_network": _projections_network,
    "lightfield_inr.query": lambda: _query("sequence"),
    "lightfield_inr.query/scene": lambda: _query("scene", scale=1.5),
    "lightfield_inr.query/grid": lambda: _query("grid", scale=1.5),
    "lightfield_inr.query/fpm": lambda: _query("dense"),
    "inr4d.fit": lambda: _inr4d_fit(region_only=False),
    "inr4d.fit/fast": lambda: _inr4d_fit(region_only=False, method="fast", plane_distance=2, steps=4, judge=False),
    "inr4d.query": lambda: _inr4d_query("published", scale="z=2,y=1.5"),
    "inr4d.query/splines": lambda: _inr4d_query("spline", scale="z=1.5,x=2", grid="area"),
    "sim.wiener3d": _sim_wiener3d,
    "fusion.vsi_sr": lambda: _vsi_sr(even_brightness=True),
    "fusion.vsi_sr/one": lambda: _vsi_sr(orientations=1),
    "fusion.wiener": _joint_wiener,
    "fusion.rldfn": _rldfn,
    "segmentation.seeded": _seeded,
    "segmentation.seeded/isotropic": lambda: _seeded(grid="isotropic", divisions="never"),
    "fusion.train_vsi": _train_vsi,
    "fusion.train_rldfn": _train_rldfn,
    "fusion.background": _background,
    "fusion.deskew": _deskew,
    "fusion.deskew/coverslip": lambda: _deskew(coverslip=True, skew_axis="y"),
    "fusion.deskew/spline": lambda: _deskew(interpolation="spline", direction=-1),
    "fusion.split_views": _split_views,
    "fusion.pipeline": _pipeline,
    "fusion.pipeline/automatic": lambda: _pipeline(**{"multiview_rl.iterations": "auto", "keep_intermediate": True}),
    "serenet.refocus": _refocus,
    "serenet.train": _serenet_train,
    "serenet.realign": _realign,
    "serenet.realign/scan": lambda: _realign(scanning=3, scan_order="snake"),
    "serenet.reconstruct": lambda: _serenet("serenet"),
    "serenet.reconstruct/fserenet": lambda: _serenet("fserenet"),
    "serenet.reconstruct/rlnet": lambda: _serenet("rlnet"),
    "serenet.reconstruct/vcdnet": lambda: _serenet("vcdnet"),
    "serenet.reconstruct/hylfmnet": lambda: _serenet("hylfmnet"),
    "serenet.twnet": lambda: _prestep("twnet"),
    "serenet.vsnet": lambda: _prestep("vsnet"),
    "serenet.predao": lambda: _prestep("predao"),
}
EXAMPLES = list(_MAKERS)


@cache
def example_of(name: str) -> Example:
    return _MAKERS[name]()
