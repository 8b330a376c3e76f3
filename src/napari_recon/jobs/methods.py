"""Methods side by side on one light field: what the recording says of each, and the truth where it is known."""

from __future__ import annotations

import csv
import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon import hub
from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.metrics import compare as measured
from napari_recon.metrics import fourier_ring_correlation
from napari_recon.optics.lightfield_geometry import GEOMETRY_IDS, VIEW_ORDERS, LightFieldGeometry

TIME, MISFIT, FRC = "seconds", "re-projection residual", "FRC of odd and even views, um"
PSNR, SSIM, CORR, MIP = "PSNR, dB", "SSIM", "correlation", "PSNR of the projection, dB"
NUMBERS = (TIME, MISFIT, FRC, PSNR, SSIM, CORR, MIP)
"""What is measured of a method; as they are headed in tables."""
VIEWS = InputSpec(name="views", axes="VYX", loops="T", description="a light field")
TRUTH = InputSpec(name="truth", axes="ZYX", loops="T", description="the volume that is right")
Volume = NDArray[np.float32]


def compare_methods(
    views: Any,
    methods: Sequence[str],
    *,
    psf: Any = None,
    truth: Any = None,
    params: Mapping[str, Any] | None = None,
    time: int = 0,
    halves: bool = True,
    axes: str | None = None,
    out: str | Path | None = None,
    on_method: Callable[[str, Mapping[str, float]], None] | None = None,
    **options: Any,
) -> dict[str, dict[str, float]]:
    """Reconstruct one light field with several methods and measure the results.

    Parameters
    ----------
    views : array, ImageStack or path
        A light field (views, y, x), or a series.
    methods : sequence of str
        An engine (``serenet.refocus``), a model of the menu, or either with settings of its own
        (``serenet.refocus:method=geometric``).
    psf : array, ImageStack or path, optional
        For the methods that take one; ``lightfield_inr.fit`` (the fast field) needs it.
    truth : array, ImageStack or path, optional
        The volume that is right; an array has the voxels of the results.
    params : mapping, optional
        For every method that has such parameters, as ``planes``.
    time : int
        Frame of a series.
    halves : bool
        Reconstruct twice more, from odd and from even views, for the resolution.
    axes : str, optional
        Of a file that does not say.
    out : path, optional
        A CSV file for the table.
    on_method : callable, optional
        Called with each method and its numbers as soon as they are known.
    **options
        ``device``, ``threads`` and ``seed`` as `napari_recon.run` takes them.

    Returns
    -------
    dict
        Method -> its numbers, of `NUMBERS` those that are known.

    Raises
    ------
    InputError
        An unknown method, one that makes no volume of views, a light field that does not fit it.
    """
    import torch  # noqa: F401 - before the first method is timed

    from napari_recon.jobs.api import run
    from napari_recon.jobs.planning import open_input

    if len(set(methods)) < len(methods) or not methods:
        raise InputError(f"methods should be named once each, found {', '.join(methods) or 'none'}; name others")
    chosen = {method: read_method(method) for method in methods}
    recording = one_frame(open_input(VIEWS, views, axes)[0], time)
    known = None if truth is None else open_input(TRUTH, truth)[0]
    found: dict[str, dict[str, float]] = {}
    for method, (engine, model, own) in chosen.items():
        chosen_engine = registry.get(engine)
        fields = chosen_engine.Params.model_fields
        settings = {**{name: value for name, value in (params or {}).items() if name in fields}, **own}
        with_psf = psf is not None and any(spec.name == "psf" for spec in chosen_engine.info.inputs)
        more: dict[str, Any] = {
            "model": model,
            "params": settings,
            **({"inputs": {"psf": psf}} if with_psf else {}),
            **options,
        }
        volume_of = partial(run, engine, **more)
        began = clock.perf_counter()
        volume = volume_of(recording).outputs["volume"]
        numbers = {TIME: clock.perf_counter() - began}
        geometry = microscope({"params": settings, "model": {"id": model} if model else None}, recording.grid.size("V"))
        from_halves = [
            plain(volume_of(half_of(recording, geometry, odd)).outputs["volume"]) for odd in (True, False) if halves
        ]
        sigma = float(settings.get("psf_sigma", 2.0))
        numbers |= by_the_recording(volume, recording, geometry, sigma, from_halves)
        if known is not None:
            there = known if known.grid.unit("Y") else replace(known, grid=volume.grid.only(known.grid.axes))
            against, remark = by_the_truth(volume, there)
            if remark:
                raise InputError(f"{remark} ({method}); give the truth of this frame, with its voxel size")
            numbers |= against
        found[method] = numbers
        if on_method is not None:
            on_method(method, numbers)
    if out is not None:
        write_table(out, found)
    return found


def write_table(path: str | Path, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Write numbers of methods as CSV, without the columns that nobody has."""
    columns = [name for name in NUMBERS if any(name in row for row in rows.values())]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", *columns])
        for method, row in rows.items():
            writer.writerow([method, *(row.get(name, "") for name in columns)])


def read_method(text: str) -> tuple[str, str | None, dict[str, Any]]:
    """Return engine, model and settings of a method as people write it: ``NAME`` or ``NAME:key=value,key=value``.

    Raises
    ------
    InputError
        Neither an engine that makes a volume of views, nor a model of one.
    """
    import yaml

    name, _, rest = text.partition(":")
    own = {key.strip(): yaml.safe_load(value) for key, _, value in (part.partition("=") for part in rest.split(",") if part)}
    model = None if name in registry.names() else hub.find(name).id
    engine = name if model is None else hub.find(name).engine
    info = registry.get(engine).info
    takes = any("V" in spec.axes for spec in info.inputs if spec.required)
    if not takes or not any(output.name == "volume" for output in info.outputs):
        raise InputError(
            f"a method should make a volume of a light field, found {engine} ({info.title}); choose "
            "deconvolution.lightfield_rl, serenet.refocus or a model of serenet.reconstruct"
        )
    return engine, model, own


def one_frame(views: ImageStack, time: int) -> ImageStack:
    """Return one frame (V, Y, X) of a light field."""
    if "T" in views.grid.axes and not 0 <= time < views.grid.size("T"):
        raise InputError(f"time should be at most {views.grid.size('T') - 1}, found {time}; choose an earlier frame")
    data = views.read("VYX", **({"t": time} if "T" in views.grid.axes else {}))
    return replace(views, data=np.asarray(data, np.float32), grid=views.grid.only("VYX"), uri="")


def half_of(views: ImageStack, geometry: LightFieldGeometry, odd: bool) -> ImageStack:
    """Return a light field (V, Y, X) made from half of its views."""
    from napari_recon.engines.deconvolution.agreement import halves

    half = halves(np.asarray(views.data, np.float32), geometry)[0 if odd else 1]
    return replace(views, data=half, uri="")


def microscope(step: Mapping[str, Any], views: int) -> LightFieldGeometry:
    """Return the geometry that a step (``params``, ``model``) of a recipe reconstructs so many views with."""
    from napari_recon.engines.light_field_optics import load_optics

    return load_optics(microscope_of(step, views))


def microscope_of(step: Mapping[str, Any], views: int) -> str:
    """Return the psf_shift of a step: what it says, else the model's own, else the one with so many views."""
    said = step.get("params", {}).get("psf_shift", "auto")
    if said != "auto":
        return str(said)
    if model := (step.get("model") or {}).get("id"):
        return str(model)
    return next((f"geometric-{n}" for n, order in VIEW_ORDERS.items() if views in (len(order), n**2)), GEOMETRY_IDS[0])


def plain(stack: ImageStack) -> Volume:
    """Return the first volume (Z, Y, X) of a result."""
    outer: dict[str, Any] = {axis.lower(): 0 for axis in stack.grid.axes if axis not in "ZYX"}
    return np.asarray(stack.read("ZYX", **outer), np.float32)


def by_the_recording(
    result: ImageStack,
    views: ImageStack,
    geometry: LightFieldGeometry,
    sigma_fine: float,
    from_halves: Sequence[Volume],
    all_planes: bool = True,
) -> dict[str, float]:
    """Return what a recording (V, Y, X) says of a result: residual of its views, and what two halves of them share.

    Parameters
    ----------
    all_planes : bool
        Whether the result has every plane that light comes from; else its views say nothing.
    """
    from napari_recon.engines.deconvolution.agreement import residual

    numbers: dict[str, float] = {}
    volume = plain(result)
    recorded = np.asarray(views.data, np.float32)
    if all_planes and volume.shape[1:] == geometry.volume_yx(*recorded.shape[1:]):
        numbers[MISFIT] = residual(volume, recorded, geometry.with_planes(len(volume)), sigma_fine)
    if len(from_halves) == 2:
        first, second = (half.reshape(-1, *half.shape[-3:])[0] for half in from_halves)
        if min(first.shape[1:]) >= 8:
            finest = fourier_ring_correlation(first, second, abs(result.grid.step("Y")), planes=True).resolution
            if np.isfinite(finest):
                numbers[FRC] = finest
    return numbers


def by_the_truth(result: ImageStack, truth: ImageStack) -> tuple[dict[str, float], str]:
    """Return what the truth says of a result, and what is to be said when it can't say anything."""
    known = at_the_place_of(truth, result.grid)
    if known is None:
        return {}, "The truth has other voxels than this result, or does not cover it"
    if known.min() == known.max():
        return {}, "The truth is empty here, so nothing is measured against it"
    found = measured(plain(result), known, align="scale")
    numbers = {PSNR: found["psnr"], SSIM: found["ssim"], CORR: found["corr"]}
    return numbers | ({MIP: found["mip"]["psnr"]} if "mip" in found else {}), ""


def at_the_place_of(truth: ImageStack, like: Grid) -> Volume | None:
    """Return the voxels (Z, Y, X) of the truth that are those of a grid; None when there are none."""
    index: dict[str, Any] = {}
    for axis in truth.grid.axes:
        if axis not in "TZYX":
            return None
        origin = like.origin(axis) if axis in like.axes else truth.grid.origin(axis)
        first = round(truth.grid.to_index(axis, origin))
        size = like.size(axis) if axis in "ZYX" else 1
        alike = axis == "T" or abs(truth.grid.step(axis) / like.step(axis) - 1) < 0.01
        if not alike or first < 0 or first + size > truth.grid.size(axis):
            return None
        index[axis.lower()] = first if axis == "T" else slice(first, first + size)
    return np.asarray(truth.read("ZYX", **index), np.float32)
