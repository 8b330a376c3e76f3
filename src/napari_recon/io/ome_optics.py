"""What OME-XML says of the microscope: aperture, immersion and emission wavelengths."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from napari_recon.io.axes import in_standard_unit


def ome_optics(xml: str) -> dict[str, tuple[float, ...]]:
    """Return ``na`` and ``refractive_index`` of the objective and ``wavelength_um`` of the channels of the first image.

    Only what is said, and said of every channel, is in it; the emission wavelength stands for a channel.
    """
    image = next((e for e in ElementTree.fromstring(xml).iter() if _tag(e) == "Image"), None)
    if image is None:
        return {}
    found: dict[str, tuple[float, ...]] = {}
    settings = next((e for e in image if _tag(e) == "ObjectiveSettings"), None)
    objectives = {e.get("ID"): e for e in ElementTree.fromstring(xml).iter() if _tag(e) == "Objective"}
    objective = objectives.get(settings.get("ID")) if settings is not None else next(iter(objectives.values()), None)
    for name, value in (
        ("na", objective.get("LensNA") if objective is not None else None),
        ("refractive_index", settings.get("RefractiveIndex") if settings is not None else None),
    ):
        if number := _positive(value):
            found[name] = (number,)
    channels = [e for e in image.iter() if _tag(e) == "Channel"]
    waves = [_wavelength_um(channel) for channel in channels]
    if waves and all(waves):
        found["wavelength_um"] = tuple(w for w in waves if w)
    return found


def _wavelength_um(channel: ElementTree.Element) -> float | None:
    value = _positive(channel.get("EmissionWavelength"))
    return in_standard_unit(value, channel.get("EmissionWavelengthUnit", "nm"))[0] if value else None


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value > 0 and math.isfinite(value) else None
