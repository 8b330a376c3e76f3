"""Fields as something to look at: what a file holds, from its header; and what evaluates it. No torch until it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.params import make_params
from napari_recon.core.plan import ModelRef
from napari_recon.fields.live import Evaluate
from napari_recon.fields.live_lattice import Levels, Span

FIELDS = {"inr4d.query": "movie", "lightfield_inr.query": "volume"}
"""Engines whose models are fields, and what their queries are called."""
FRAMES = 10
"""Time points of a published 4-D field of which nobody says how many it was fitted to."""
FINEST = {"spatime": 2, "nerf": 4, "nerf_sequence": 4}
"""Samples per voxel at which a slow field is looked at, at most; others take `Levels`' own."""
SUFFIXES = (".safetensors", ".pt", ".pth", ".tar")


@dataclass(frozen=True)
class FieldSource:
    """What a saved field is.

    Attributes
    ----------
    model : ModelRef
    data : Grid
        Of what it stands for: (T)ZYX.
    params : mapping
        What a query of it takes besides lattice, box and time.
    between : bool
        It has values between time points.
    limits : tuple of float or None
        Least and largest intensity, where known.
    note : str
        What had to be assumed; empty when nothing was.
    """

    model: ModelRef
    data: Grid
    params: Mapping[str, Any] = field(default_factory=dict)
    between: bool = False
    limits: tuple[float, float] | None = None
    note: str = ""

    @property
    def engine(self) -> str:
        """Name of the engine that queries it."""
        return self.model.engine

    @property
    def output(self) -> str:
        """Name of what a query gives."""
        return FIELDS[self.engine]

    def levels(self, time_steps: int) -> Levels:
        """Return the lattices on which it is looked at."""
        finest = FINEST.get(self.model.architecture)
        return Levels(self.data, time_steps if self.between else 1, **({"finest": finest} if finest else {}))

    def open(self, compute: Compute = Compute()) -> Evaluate:
        """Load the field and return what evaluates it in intensities, on one thread less than all. Imports torch."""
        import torch

        compute = compute.resolved()
        torch.set_num_threads(compute.threads)
        with torch.inference_mode():
            return (_of_recordings if self.engine == "inr4d.query" else _of_light_fields)(self, compute.device)


def field_source(path: str | Path, recording: Grid | None = None, params: Mapping[str, Any] | None = None) -> FieldSource:
    """Return what a saved field is: a file, a folder (a published save folder, or a fit's results) or a model's id.

    Reads headers; torch is imported to look into a torch file for the first time.

    Parameters
    ----------
    path : path
    recording : Grid, optional
        Of what a published 4-D field was fitted to, which its files do not say.
    params : mapping, optional
        Parameters of `lightfield_inr.query` that published files do not say: ``render_size``, ``encoder`` ...

    Raises
    ------
    InputError, CheckpointError
        It is no field, or does not say what it stands for.
    """
    from napari_recon.hub import resolve

    model = resolve(_file_of(Path(path).expanduser()) or path)
    if model.engine not in FIELDS:
        raise InputError(
            f"{path} should be a field ({' or '.join(FIELDS)}), found a model of {model.engine} "
            f"({model.architecture}); open a file that inr4d.fit or lightfield_inr.fit made"
        )
    return _recording_of(model, recording) if model.engine == "inr4d.query" else _light_field_of(model, params or {})


def may_be_field(path: str | Path) -> bool:
    """Return whether a file or folder looks like a field; quick, and true of some that are none."""
    from napari_recon.hub.state import members, read_card, read_shapes

    place = Path(path)
    if place.is_dir():
        return members(place) is not None or _file_of(place) is not None
    if place.suffix not in SUFFIXES or not place.is_file():
        return False
    if place.suffix != ".safetensors":
        return True
    try:
        own = read_card(place).get("engine")
        return own in FIELDS if own else any(n in ("voxels", "coefficients", "frames") for n in read_shapes(place))
    except (OSError, ValueError, RuntimeError):
        return False


def _file_of(place: Path) -> Path | None:
    """Return the field in a folder of results, None where `place` is none or its files belong together."""
    from napari_recon.hub.state import members

    if not place.is_dir() or members(place):
        return None
    inside = sorted(place.glob("*.safetensors"))
    fields = [file for file in inside if may_be_field(file)]
    if len(fields) == 1 or any(file.stem == "model" for file in fields):
        return next((file for file in fields if file.stem == "model"), fields[0])
    return next((folder for folder in sorted(place.iterdir()) if members(folder)), None)


def _recording_of(model: ModelRef, recording: Grid | None) -> FieldSource:
    from napari_recon.engines.inr4d.params import QueryParams
    from napari_recon.engines.inr4d.place import data_grid

    note, params, known = "", {}, model
    if model.options.get("grid") is None:
        latent = dict(zip("XYZ", model.options["latent_xyz"], strict=True))
        if recording is None:
            recording = Grid.of("TZYX", (FRAMES, *(2 * int(latent[a]) for a in "ZYX")))
            note = (
                f"{model.id} does not say which recording it was fitted to; {FRAMES} time points, {recording.shape[1:]} "
                "voxels (z, y, x) and intensities from 0 to 1 are assumed"
            )
        recording = recording.only("TZYX")
        params = {"shape_tzyx": recording.shape}
        known = model.model_copy(update={"options": {**model.options, "grid": recording.model_dump(mode="json")}})
    data = data_grid(QueryParams(), known, None)
    limits = model.options.get("recording", {}).get("range") or (None if model.options.get("intensity") else (0.0, 1.0))
    limits = (float(limits[0]), float(limits[1])) if limits else None
    return FieldSource(model, data, params, data.size("T") > 1, limits, note)


def _light_field_of(model: ModelRef, asked: Mapping[str, Any]) -> FieldSource:
    from napari_recon.engines.lightfield_inr.engine import Query
    from napari_recon.engines.lightfield_inr.params import QueryParams, resolved

    params = resolved(make_params(QueryParams, dict(asked)), model)
    data = Query().main_grid({}, params, model)
    between = model.architecture == "grid" and "T" in data.axes and data.size("T") > 1
    return FieldSource(model, data, params.model_dump(mode="json"), between)


def _of_recordings(source: FieldSource, device: str) -> Evaluate:
    import torch

    from napari_recon.engines.inr4d.checkpoint import forget
    from napari_recon.engines.inr4d.params import QueryParams
    from napari_recon.engines.inr4d.upstream.field import Places
    from napari_recon.engines.inr4d.values import OpenField

    params = QueryParams()
    opened = OpenField(source.model, source.data, params, device)
    forget()  # what is kept goes with the layer
    offset, gain = map(np.float32, source.model.options.get("intensity") or (0.0, 1.0))
    counts = {axis: source.data.size(axis) for axis in source.data.axes}

    def evaluate(spans: Mapping[str, Span], check: Callable[[], None]) -> NDArray[np.float32]:
        places = {axis: torch.from_numpy(span.places()) for axis, span in spans.items()}
        along = {a: Places(places[a], counts[a], params.radius * span.step, places[a]) for a, span in spans.items()}
        with torch.inference_mode():
            found: NDArray[np.float32] = opened.values(along, check).cpu().numpy() * gain + offset
        return found

    return evaluate


def _of_light_fields(source: FieldSource, device: str) -> Evaluate:
    import torch

    from napari_recon.engines.lightfield_inr.checkpoint import forget
    from napari_recon.engines.lightfield_inr.params import QueryParams
    from napari_recon.engines.lightfield_inr.values import OpenField

    opened = OpenField(source.model, QueryParams.model_validate(source.params), device)
    forget()

    def evaluate(spans: Mapping[str, Span], check: Callable[[], None]) -> NDArray[np.float32]:
        x, y, z = (spans[axis].places() for axis in "XYZ")
        times = spans["T"].places() if "T" in spans else [0.0]
        with torch.inference_mode():
            found = [opened.values(float(time), x, y, z, check) for time in times]
        return np.stack(found) if "T" in spans else found[0]

    return evaluate
