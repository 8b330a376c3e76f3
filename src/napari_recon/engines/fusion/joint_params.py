"""What engines that join three orientations share: parameters, transfer functions as inputs, and their checks (no torch)."""

from __future__ import annotations

from typing import Literal

from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.frames import Refs
from napari_recon.core.params import EngineParams, param

OTF0 = InputSpec(
    name="otf0", axes="YX", loops="C", required=False, description="transfer of the wide field, zero frequency in the middle"
)
OTF1 = InputSpec(
    name="otf1",
    axes="YX",
    loops="C",
    required=False,
    description="transfer of the sharper direction, zero frequency in the middle",
)
APODISATION = InputSpec(
    name="apodisation", axes="YX", loops="C", required=False, description="what the wide field's spectrum is multiplied by"
)
TRANSFER = (OTF0, OTF1, APODISATION)


class JointParams(EngineParams):
    """How three orientations become one picture."""

    otf_weight: float = param(8.0, "How much the sharper direction of each orientation counts.", ge=0.0, le=100.0)
    wiener: float = param(0.1, "Regularisation: noise over signal, squared in the denominator.", gt=0.0, le=10.0)
    even_brightness: bool | Literal["auto"] = param(
        "auto",
        "Give every plane the brightness of the raw planes, smoothed over 11 of them; auto does so with compat=upstream.",
    )
    percentile: float = param(
        99.0, "Pixels above this percentile tell a plane's brightness.", unit="%", ge=0.0, lt=100.0, advanced=True
    )
    compat: Literal["none", "upstream"] = param(
        "none",
        "upstream scales every view, plane and the volume by their extremes to 16 bits, as the published program does, and "
        "gives its maximum projection.",
        advanced=True,
    )

    @property
    def evens_brightness(self) -> bool:
        """Whether planes get the smoothed brightness."""
        return self.compat == "upstream" if self.even_brightness == "auto" else bool(self.even_brightness)


def check_transfer(refs: Refs, advice: str = "") -> None:
    """Raise unless all three transfer functions are there, of known size."""
    missing = [spec.name for spec in TRANSFER if not refs[spec.name]]
    if missing:
        raise InputError(
            f"joining three orientations needs otf0, otf1 and apodisation, found no {' and no '.join(missing)}; "
            f"give the files (--input {missing[0]}=FILE){advice}"
        )
    sizes = {refs[name][0].grid.only("YX").shape for name in ("otf0", "otf1")}  # type: ignore[union-attr]
    if len(sizes) > 1:
        raise InputError(
            f"otf0 and otf1 should have the same size, found {' and '.join(str(s) for s in sizes)}; give files of one pair"
        )
