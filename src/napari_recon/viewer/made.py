"""How a layer was made: as text for people, and as a plan that can be run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import InputError
from napari_recon.core.provenance import KEY, Recipe, Step
from napari_recon.viewer.layer_input import stack_from_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


def record_of(layer: Layer | None) -> dict[str, Any]:
    """Return the provenance a layer carries.

    Raises
    ------
    InputError
        No layer, or one without provenance.
    """
    if layer is None:
        raise InputError("a result of napari-recon should be selected, found no layer; select one in the layer list")
    record = layer.metadata.get(KEY)
    if not isinstance(record, Mapping) or "recipe" not in record:
        raise InputError(
            f"a result of napari-recon should be selected, found {layer.name}, which does not say how it was made; "
            "select a layer that was reconstructed here or read from one of our files"
        )
    return dict(record)


def how_made(layer: Layer) -> str:
    """Return what a person wants to know about a result, then its recipe as YAML."""
    record = record_of(layer)
    recipe = Recipe.from_dict(record, layer.name)
    lines = [layer.name, "=" * len(layer.name), ""]
    if record.get("partial"):
        lines += ["This result is PARTIAL: the run was stopped, voxels that were not finished are zero.", ""]
    for step in recipe.steps:
        lines += _step_lines(step, record)
    environment = record.get("environment", {})
    versions = ", ".join(f"{name} {version}" for name, version in environment.items())
    when = record.get("started", "")
    lines += [f"Made:      {when}" + (f", in {record['seconds']:g} s" if "seconds" in record else "")]
    lines += [f"With:      napari-recon {record.get(KEY, '?')}; {versions}", "", "Recipe", "------", recipe.to_yaml()]
    return "\n".join(lines)


def sources(layer: Layer, viewer: ViewerModel) -> dict[str, list[Any]]:
    """Return the inputs that are layers of `viewer` as stacks; the recipe's files are opened by whoever runs it.

    Raises
    ------
    InputError
        When a layer it was made from has gone.
    """
    record = record_of(layer)
    known: Mapping[str, Any] = record.get("layers", {})
    found: dict[str, list[Any]] = {}
    for step in Recipe.from_dict(record, layer.name).steps:
        for name, paths in step.inputs.items():
            names = [*known.get(name, ()), *({} for _ in paths)]
            for source, place in zip(paths, names, strict=False):
                origin = _origin(viewer, place, by_name=source.path.startswith("layer:"))
                if origin is not None:
                    found.setdefault(name, []).append(stack_from_layer(origin, source.axes))
                elif source.path.startswith("layer:"):
                    lost = place.get("name", name)
                    raise InputError(
                        f"the layer {lost} that {layer.name} was made from is gone; open it again under that name"
                    )
    return found


def _origin(viewer: ViewerModel, place: Mapping[str, str], by_name: bool) -> Layer | None:
    for layer in viewer.layers:
        if str(layer.unique_id) == place.get("id"):
            return layer
    return next((x for x in viewer.layers if by_name and x.name == place.get("name")), None)


def _step_lines(step: Step, record: Mapping[str, Any]) -> list[str]:
    lines = [f"Method:    {step.engine}"]
    for name, paths in step.inputs.items():
        names = [place["name"] for place in record.get("layers", {}).get(name, ())]
        for number, source in enumerate(paths):
            layer = f" (layer {names[number]})" if number < len(names) else ""
            path = "" if source.path.startswith("layer:") else source.path
            lines.append(f"Input:     {name}: {path}{layer}, axes {source.axes}")
    if step.model is not None:
        lines.append(f"Model:     {step.model.id}  sha256 {step.model.sha256[:12]}")
    region = str(step.selection.box or "whole field")
    lines.append(f"Region:    {region} (voxels of the result's grid)")
    if step.selection.time is not None:
        lines.append(f"Frames:    {step.selection.time}")
    lines += [f"Setting:   {name} = {value}" for name, value in step.params.items()]
    lines.append(
        "Computed:  " + ", ".join(f"{name} {value}" for name, value in step.resolved.items() if not isinstance(value, dict))
    )
    return [*lines, ""]
