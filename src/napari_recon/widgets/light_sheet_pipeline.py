"""The steps of the Light sheet dock as one `fusion.pipeline`: written for a cluster, and read back into the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_recon import hub
from napari_recon.core.errors import InputError
from napari_recon.core.plan import ModelRef
from napari_recon.engines import registry
from napari_recon.viewer import preferences
from napari_recon.viewer.layer_input import guess_axes, stack_from_layer
from napari_recon.widgets.light_sheet_steps import BACKGROUND, DESKEW, MULTIVIEW, RLDFN, SPLIT, VSI
from napari_recon.widgets.request import Request

if TYPE_CHECKING:
    from napari_recon.widgets.light_sheet import LightSheetWidget

PIPELINE = "fusion.pipeline"
GROUPS = {"background": BACKGROUND, "deskew": DESKEW, "vsi_sr": VSI, "split_views": SPLIT}
"""Group of parameters -> engine, in the order of the steps."""


def pipeline_of(dock: LightSheetWidget) -> Request:
    """Return the ticked steps as one request; what they take over from each other stays automatic.

    Raises
    ------
    InputError
        Nothing ticked, no raw stack, or views that were measured one by one.
    """
    ticked = dock.stepper.ticked()
    if not ticked or ticked == [len(GROUPS)]:
        raise InputError("steps before the fusion should be ticked, found none; tick them, or copy the open step alone")
    layer = dock.data.layer if dock.at == ticked[0] else dock.chain.input_for(ticked[0]) or dock.data.layer
    if layer is None:
        raise InputError("a raw stack was expected, found none; open data first, or the sample")
    params: dict[str, Any] = {}
    for at, (group, engine) in enumerate(GROUPS.items()):
        on: Any = at in ticked
        params[group] = changed(dock, engine) | ({"enabled": on} if not on else {})
    inputs: dict[str, tuple[Any, ...]] = {}
    model = model_of(dock, VSI) if 2 in ticked and dock.engine_of(2) == VSI else None
    if len(GROUPS) not in ticked:
        params["fusion"] = "none"
    elif dock.engine_of(len(GROUPS)) == RLDFN:
        fusing = model_of(dock, RLDFN)
        params |= {"fusion": "rldfn", "rldfn": changed(dock, RLDFN)}
        params |= {"fusion_model": fusing.id} if fusing is not None and model is not None else {}
        model, inputs["psf"] = model or fusing, dock.psf.value()
    else:
        params["multiview_rl"] = changed(dock, dock.engine_of(len(GROUPS)))
        if dock.psf.kind == "layers":
            inputs["psf"] = dock.psf.value()
        else:
            params["multiview_rl"]["psf_model"] = dock.psf.kind
    spec = registry.get(PIPELINE).info.inputs[0]
    inputs = {spec.name: (stack_from_layer(layer, guess_axes(layer, spec)),), **{k: v for k, v in inputs.items() if v}}
    if model is not None and model.engine == VSI:
        rows = {name: row.value() for name, row in dock.transfer_rows.items()}
        inputs |= {name: (value,) for name, value in rows.items() if value is not None}
    return Request(PIPELINE, inputs, params, model=model, compute=preferences.compute())


def show_pipeline(dock: LightSheetWidget, params: Mapping[str, Any]) -> None:
    """Fill the forms of the steps from the parameters of a pipeline, and tick the steps that are on."""
    groups = {**GROUPS, "multiview_rl": MULTIVIEW, "rldfn": RLDFN}
    fusion = params.get("fusion", "multiview_rl")
    for at, (group, engine) in enumerate(groups.items()):
        own = dict(params.get(group, {}))
        if at < len(GROUPS):
            dock.stepper.rows[at].box.setChecked(own.pop("enabled", True) is not False)
        elif group != fusion:
            continue
        dock.choose_method(engine)
        form = dock.settings.form
        own = {n: v for n, v in own.items() if n in form.fields and (v not in ("auto", (), []) or form.default(n) == v)}
        dock.settings.set_values(own)
        if engine == MULTIVIEW and "psf_model" in own:
            dock.psf.choose(own["psf_model"])
            dock.psf.by_hand = True
    dock.stepper.rows[len(GROUPS)].box.setChecked(fusion != "none")
    dock.open_step(next(iter(dock.stepper.ticked()), 0))


def changed(dock: LightSheetWidget, engine: str) -> dict[str, Any]:
    """Return the settings of a step that are not the defaults of its engine."""
    defaults = registry.get(engine).Params().model_dump(mode="json")
    return {name: value for name, value in dock.settings.values_of(engine).items() if defaults.get(name) != value}


def model_of(dock: LightSheetWidget, engine: str) -> ModelRef | None:
    """Return the model chosen for an engine, else the first there is."""
    wanted = dock.model.chosen_for(engine)
    cards = sorted((c for c in hub.catalogue(engine) if c.available), key=lambda card: card.id != wanted)
    return cards[0].ref() if cards else None
