"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_recon.core.errors import InputError

if TYPE_CHECKING:
    from napari_recon.core.engine import Inputs
    from napari_recon.core.plan import Plan

_RANGE = re.compile(r"[-+]?[\d.]+(:[-+]?[\d.]+)+")
"""Numbers between colons stay text; YAML takes them for hours and minutes."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]
Out = Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="A file, or a folder ending in /.")]
Set = Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="A parameter; the value is YAML. Repeatable.")]
Seed = Annotated[int, typer.Option("--seed", help="Start of the random numbers.")]
InputFiles = Annotated[
    list[str], typer.Option("--input", metavar="NAME=FILE", help="A declared input by name. Repeatable, in order.")
]
RecipeOut = Annotated[str | None, typer.Option("--recipe-out", metavar="FILE", help="Also write the recipe here.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Axes = Annotated[str | None, typer.Option("--axes", metavar="TZYX", help="Axis letters, when the file does not say.")]
VoxelSize = Annotated[str | None, typer.Option("--voxel-size", metavar="z=0.3,y=0.1,x=0.1", help="Micrometers.")]


@dataclass(frozen=True)
class Request:
    """What `run`, `train` and `plan` are asked for, as text."""

    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="family.method, see: napari-recon engines")]
    inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT...", help="Files, folders, quoted globs.")] = None
    model: Annotated[str | None, typer.Option("--model", metavar="ID|PATH", help="A model's id, file or folder.")] = None
    assignments: Set = ()  # type: ignore[assignment]
    params: Annotated[str | None, typer.Option("--params", metavar="FILE.yaml", help="Parameters from a file.")] = None
    roi: Annotated[str | None, typer.Option("--roi", metavar="z=4:20,y=16:80", help="Half-open box of voxels.")] = None
    roi_space: Annotated[str, typer.Option("--roi-space", help="output, input or world.")] = "output"
    time: Annotated[str | None, typer.Option("--time", metavar="3:10", help="Half-open range of input frames.")] = None
    axes: Axes = None
    voxel_size: VoxelSize = None
    device: Device = "auto"
    devices: Annotated[int, typer.Option("--devices", help="How many devices; training only.")] = 1
    threads: Annotated[int, typer.Option("--threads", help="CPU threads; 0 takes every core.")] = 0
    seed: Seed = 0
    init: Annotated[str | None, typer.Option("--init", metavar="CHECKPOINT|ID", help="Start from these weights.")] = None
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="CHECKPOINT", help="Go on exactly; auto is the latest of this run.")
    ] = None
    input_files: InputFiles = ()  # type: ignore[assignment]

    def planned(self) -> tuple[Plan, Inputs]:
        """Return the plan and its opened inputs.

        Raises
        ------
        InputError
        """
        from napari_recon.core.compute import Compute
        from napari_recon.engines import registry
        from napari_recon.jobs.api import as_selection
        from napari_recon.jobs.planning import assign_inputs, make_plan, split_model

        engine = registry.get(self.engine)
        if self.devices != 1 and "devices" not in engine.Params.model_fields:
            raise InputError(f"{self.engine} uses one device, found --devices {self.devices}; leave it out")
        positional, model = split_model(engine, self.inputs or (), self.model)
        return make_plan(
            engine,
            assign_inputs(engine, positional, named_files(self.input_files)),
            {**read_params(self.params), **assigned(self.assignments), **self._training(engine)},
            as_selection(self.roi, self.roi_space, self.time),
            model,
            Compute.headless(self.device, self.seed, self.threads),
            axes=self.axes,
            voxel_size_um=parse_voxel_size(self.voxel_size),
        )

    def _training(self, engine: Any) -> dict[str, str | int]:
        """Return what the options of training say, as parameters."""
        given = {name: value for name in ("init", "resume") if (value := getattr(self, name)) is not None}
        for name, value in given.items():
            if name not in engine.Params.model_fields:
                raise InputError(f"{self.engine} can't start from a checkpoint, found --{name} {value}; leave it out")
            named = value == "auto" if name == "resume" else not Path(value).suffix  # a model's id has no suffix
            if not named and not Path(value).exists():
                raise InputError(f"--{name} should name a checkpoint that exists, found {value}; check the path")
        return given | ({"devices": self.devices} if self.devices != 1 else {})


def takes_request(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command that has the fields of `Request` as options in front of `function`'s own."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = list(inspect.signature(Request, eval_str=True).parameters.values())
    names = {field.name for field in fields(Request)}

    def command(**values: Any) -> None:
        request = Request(**{name: values.pop(name) for name in list(values) if name in names})
        function(request, **values)

    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*shared, *own)]
    ordered = sorted(keyword, key=lambda p: p.default is not inspect.Parameter.empty)
    command.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in ordered}
    command.__doc__, command.__name__ = function.__doc__, function.__name__
    return command


def assigned(assignments: Sequence[str]) -> dict[str, Any]:
    """Return ``["a.b=3"]`` as ``{"a.b": 3}``, values read as YAML."""
    import yaml

    found = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--set should look like NAME=VALUE, found {text!r}; write for example --set iterations=10")
        try:
            found[name.strip()] = value.strip() if _RANGE.fullmatch(value.strip()) else yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--set {name.strip()} should have a YAML value, found {value!r}; quote it") from None
    return found


def read_params(path: str | None) -> dict[str, Any]:
    """Return the parameters of a YAML file, nested or with dotted names."""
    import yaml

    from napari_recon.core.params import flat

    if path is None:
        return {}
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--params should name a YAML file, {path} can't be read ({error.strerror}); check it") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"--params {path} is not readable YAML; mend it") from None
    if not isinstance(values, dict):
        raise InputError(f"--params {path} should hold names with values, found {type(values).__name__}; mend it")
    return flat(values)


def named_files(pairs: Sequence[str]) -> dict[str, list[str]]:
    """Return ``["psf=a.tif"]`` as ``{"psf": ["a.tif"]}``."""
    found: dict[str, list[str]] = {}
    for text in pairs:
        name, equals, file = text.partition("=")
        if not equals or not name.strip() or not file:
            raise InputError(f"--input should look like NAME=FILE, found {text!r}; write for example --input psf=psf.tif")
        found.setdefault(name.strip(), []).append(file)
    return found


def parse_voxel_size(text: str | None) -> dict[str, float] | None:
    """Return ``"z=0.3,y=0.1"`` as numbers per axis letter."""
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        axis, _, size = part.partition("=")
        try:
            value = float(size)
        except ValueError:
            value = 0.0
        if axis.strip().lower() not in ("z", "y", "x") or not 0 < value < float("inf"):
            raise InputError(
                f"a voxel size should look like z=0.3,y=0.1,x=0.1 (micrometers above 0), found {text!r}; mend it"
            )
        found[axis.strip().lower()] = value
    return found
