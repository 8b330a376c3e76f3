"""Parameters of engines that train the published network, and how a settings file and the views' size fill them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Frozen
from napari_recon.core.params import param
from napari_recon.engines.lightfield_inr import flagfile
from napari_recon.engines.lightfield_inr.field import PRESETS, Encoding, Layers
from napari_recon.engines.lightfield_inr.params import FieldParams, encoding_of_flags, post_of_flags
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings, layers_of_flags
from napari_recon.hub.state import read_card


class NetworkParams(FieldParams):
    """The published network with its objective and schedule."""

    depth: int = param(0, "Layers of the network; 0 takes the preset's.", ge=0, le=64, advanced=True)
    width: int = param(0, "Units of a layer; 0 takes the preset's.", ge=0, le=4096, advanced=True)
    skips: tuple[int, ...] | Literal["auto"] = param(
        "auto", "Layers after which the encoded point is put in again; auto takes the preset's.", advanced=True
    )
    upstream: FitSettings = FitSettings()

    @property
    def layers(self) -> Layers:
        """The network of resolved parameters."""
        assert self.skips != "auto"
        return Layers(depth=self.depth, width=self.width, skips=self.skips, encoded=self.encoding.length)


def resolved_network(params: NetworkParams, start: str = "") -> dict[str, Any]:
    """Return the values of parameters that are left automatic; blocks may still be larger than the views.

    Parameters
    ----------
    params : NetworkParams
    start : str
        A model whose weights training starts from: where nothing else is said, its card says what network it is.

    Raises
    ------
    InputError
        Settings that do not fit together.
    """
    flags = flagfile.read(params.config) if params.config else {}
    if flags.get("modeltype", "NeRF") != "NeRF" or params.preset == "fpm":
        raise InputError(
            "a fit of light fields needs the plain network (modeltype NeRF), found NeRF_ex; choose another preset"
        )
    card = _card(start) if params.preset == "auto" and not flags else {}
    preset = PRESETS["mito" if params.preset == "auto" else params.preset]
    encoding = _encoding(params, flags, Encoding.model_validate(card["encoding"]) if card else preset.encoding)
    published = layers_of_flags(flags, encoding) if flags else Layers.model_validate(card["layers"]) if card else preset
    depth = params.depth or published.depth
    skips = params.skips if params.skips != "auto" else tuple(i for i in published.skips if i < depth - 1)
    if any(not 0 <= i < depth - 1 for i in skips):
        raise InputError(f"skips should name layers from 0 to {depth - 2}, found {list(skips)}; mend them")
    return {
        **encoding.model_dump(),
        "config": "",
        "depth": depth,
        "width": params.width or published.width,
        "skips": skips,
        "upstream": FitSettings.of_flags(flags) if flags else params.upstream,
        "post_processor": post_of_flags(flags) if params.post_processor == "auto" else params.post_processor,
    }


def _encoding(params: NetworkParams, flags: dict[str, Any], usual: Encoding) -> Encoding:
    if params.encoder != "auto":
        found = Encoding(encoder=params.encoder, octaves=params.octaves, octaves_z=params.octaves_z)
        needs_z = params.encoder in ("anisotropic", "radial")
        if params.encoder != "none" and (not params.octaves or (needs_z and not params.octaves_z)):
            raise InputError(f"the {params.encoder} encoder needs octaves{' and octaves_z' if needs_z else ''}; set them")
        return found
    return encoding_of_flags(flags) if "embeddertype" in flags else usual


def _card(start: str) -> dict[str, dict[str, Any]]:
    """Return ``layers`` and ``encoding`` of the card stored in a model file, nothing where it has none."""
    path = Path(start).expanduser()
    options = read_card(path).get("options", {}) if start and path.is_file() else {}
    parts: dict[str, type[Frozen]] = {"layers": Layers, "encoding": Encoding}
    if not all(name in options for part in parts.values() for name in part.model_fields):
        return {}
    return {name: {key: options[key] for key in part.model_fields} for name, part in parts.items()}
