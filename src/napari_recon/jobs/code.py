"""A plan as a line of Python or a shell command that makes the same plan again."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.params import describe_parameters, nested
from napari_recon.core.plan import InputRef, Plan
from napari_recon.core.region import Box
from napari_recon.engines import registry

_PLAIN = re.compile(r"[\w./~][\w./~ -]*[\w./~]|\w")


def as_python(plan: Plan) -> str:
    """Return a script that repeats `plan` with `napari_recon.run`; layers are taken from ``viewer.layers``."""
    named: dict[str, list[str]] = {}
    for ref in plan.inputs:
        named.setdefault(ref.name, []).append(_python_input(ref))
    lines = [f"    {plan.engine!r},"]
    lines += [
        f"    {name}={things[0] if len(things) == 1 else '[' + ', '.join(things) + ']'},"
        for name, things in (("inputs", [_mapping(named)]),)
        if named
    ]
    lines += [f"    params={changed_params(plan)!r},"] if changed_params(plan) else []
    axes, voxel_size = geometry_options(plan)
    options: dict[str, Any] = {
        "axes": axes,
        "voxel_size": voxel_size,
        "roi": roi_text(plan),
        "time": time_text(plan),
        "model": _model(plan),
        "device": plan.compute.device,
        "seed": plan.compute.seed or None,
        "threads": _threads(plan),
    }
    lines += [f"    {name}={value!r}," for name, value in options.items() if value]
    first = plan.outputs[0].name if plan.outputs else ""
    tail = f"\n{_identifier(first)} = result[{first!r}]" if first else ""
    return "import napari_recon\n\nresult = napari_recon.run(\n" + "\n".join(lines) + "\n)" + tail + "\n"


def as_command(plan: Plan, out: str = "") -> str:
    """Return the shell command (POSIX quoting) that repeats `plan`; a layer is named as the file it should be saved to."""
    first = plan.outputs[0].name if plan.outputs else "model"
    verb = "run" if plan.outputs else "train"
    words = ["napari-recon", verb, plan.engine]
    positional, by_name = _command_inputs(plan)
    for name, file in by_name:
        words += ["--input", f"{name}={file}"]
    words += ["-o", out or (f"{first}.ome.tif" if plan.outputs else "model.safetensors")]
    if model := _model(plan):
        words += ["--model", model]
    for name, value in changed_params(plan).items():
        words += ["--set", f"{name}={yaml_text(value)}"]
    axes, voxel_size = geometry_options(plan)
    options = {
        "--axes": axes,
        "--voxel-size": ",".join(f"{a}={s!r}" for a, s in (voxel_size or {}).items()),
        "--roi": roi_text(plan),
        "--time": time_text(plan),
        "--device": plan.compute.device,
        "--seed": str(plan.compute.seed) if plan.compute.seed else None,
        "--threads": str(threads) if (threads := _threads(plan)) else None,
    }
    for option, text in options.items():
        if text:
            words += [option, text]
    words += ["--", *positional] if any(p.startswith("-") for p in positional) else []
    if "--" not in words:
        words[3:3] = positional
    return shlex.join(words)


def _threads(plan: Plan) -> int | None:
    """Return the threads to name: the last bits of a sum may depend on them. None when headless runs take as many."""
    return plan.compute.threads if plan.compute.threads != Compute.headless().threads else None


def changed_params(plan: Plan) -> dict[str, Any]:
    """Return the parameters that are not at their default, by dotted name."""
    model = registry.get(plan.engine).Params
    default = model().model_dump(mode="json")
    found = {}
    for row in describe_parameters(model):
        value = _at(plan.params, row.name)
        if value != _at(default, row.name):
            found[row.name] = value
    return found


def roi_text(plan: Plan) -> str | None:
    """Return the selected box as ``"z=4:20,y=16:80"`` without the axes that are whole; None for the whole field."""
    box = plan.selection.box
    whole = next(iter(plan.whole.values()), None)
    if not isinstance(box, Box) or whole is None:
        return None
    cut = {a: b for a, b in box.items() if b != (0, whole.size(a))}
    return ",".join(f"{a.lower()}={lo}:{hi}" for a, (lo, hi) in cut.items()) or None


def time_text(plan: Plan) -> str | None:
    """Return the time range as ``"3:10"``; None when it is all of them."""
    time = plan.selection.time
    main = plan.inputs[0].grid if plan.inputs else None
    return None if time is None or (main is not None and (time.start, time.stop) == (0, main.size("T"))) else str(time)


def yaml_text(value: Any) -> str:
    """Return `value` as one line of YAML that reads back as exactly itself."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    if isinstance(value, float) and math.isfinite(value):
        # PyYAML reads 1e-05 as text: the mantissa needs a point
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def geometry_options(plan: Plan) -> tuple[str | None, dict[str, float] | None]:
    """Return the axes and the voxel size (um) the main input must be told, None for what its file says itself."""
    ref = plan.inputs[0] if plan.inputs else None
    if ref is None or ref.grid is None:
        return None, None
    grid = ref.grid
    size = {a.lower(): grid.step(a) for a in grid.axes if a in "ZYX" and grid.unit(a) == "micrometer"} or None
    if not _is_file(ref):
        return grid.axes, size
    from napari_recon.io import open_stack

    try:
        said = open_stack(ref.uri, default_axes=registry.get(plan.engine).info.input(ref.name).axes or None).grid
    except (InputError, OSError):
        return grid.axes, size
    same_size = all(
        a in said.axes and said.unit(a.upper()) == "micrometer" and abs(said.step(a) / grid.step(a) - 1) < 1e-9
        for a in (k.upper() for k in size or {})
    )
    return (None if said.axes == grid.axes else grid.axes), (None if same_size else size)


def _command_inputs(plan: Plan) -> tuple[list[str], list[tuple[str, str]]]:
    """Return positional files and (name, file) pairs for --input, so that every file reaches its declared input."""
    specs = registry.get(plan.engine).info.inputs
    files: dict[str, list[str]] = {spec.name: [] for spec in specs}
    for ref in plan.inputs:
        files[ref.name].append(ref.uri if _is_file(ref) else f"{_identifier(ref.label or ref.name)}.ome.tif")
    positional: list[str] = []
    for number, spec in enumerate(specs):
        if not files[spec.name]:
            rest = specs[number + 1 :]
            return positional, [(s.name, f) for s in rest for f in files[s.name]]
        positional += files[spec.name]
        if spec.many:
            return positional, [(s.name, f) for s in specs[number + 1 :] for f in files[s.name]]
    return positional, []


def _python_input(ref: InputRef) -> str:
    if _is_file(ref):
        return repr(ref.uri)
    return f"viewer.layers[{(ref.label or ref.name)!r}].data"


def _mapping(named: dict[str, list[str]]) -> str:
    return "{" + ", ".join(f"{name!r}: [{', '.join(things)}]" for name, things in named.items()) + "}"


def _model(plan: Plan) -> str | None:
    if plan.model is None:
        return None
    from napari_recon.hub import catalogue

    known = {card.id for card in catalogue()}
    return plan.model.id if plan.model.id in known else plan.model.path or plan.model.id


def _is_file(ref: InputRef) -> bool:
    return bool(ref.uri) and not ref.uri.startswith(("layer:", "step:"))


def _identifier(text: str) -> str:
    return re.sub(r"\W+", "_", Path(text).name).strip("_") or "image"


def _at(values: dict[str, Any], name: str) -> Any:
    branch: Any = nested(values)
    for part in name.split("."):
        branch = branch.get(part) if isinstance(branch, dict) else None
    return branch
