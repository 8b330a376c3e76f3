"""What engines that join three orientations share: parameters, transfer functions as inputs, and their checks (no torch)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.frames import Frame, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import InputRef, Plan

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
Optic = Annotated[float, Field(gt=0, le=3)] | Literal["auto"]


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
    na: Optic = param("auto", "Numerical aperture, for transfer functions that no file gives; auto takes it from the data.")
    wavelength_um: Optic = param(
        "auto", "Emission wavelength, for transfer functions that no file gives; auto takes it from the data.", unit="um"
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


def check_transfer(refs: Refs, params: JointParams, main: InputRef, fine: Grid, advice: str = "") -> None:
    """Raise unless all three transfer functions are there, of known size, or none and the optics to compute them from.

    Parameters
    ----------
    main : InputRef
        The data, which may say what the optics are.
    fine : Grid
        Of the joined planes.
    """
    missing = [spec.name for spec in TRANSFER if not refs[spec.name]]
    if len(missing) == len(TRANSFER) and _optics(params, main) is not None:
        if any(fine.unit(a) != "micrometer" for a in "YX") or abs(fine.step("Y") / fine.step("X") - 1) > 0.01:
            raise InputError(
                "transfer functions are computed for square pixels of a known size, found "
                f"{fine.step('Y'):g} x {fine.step('X'):g} {fine.unit('X')}; give --voxel-size, or files (--input otf0=)"
            )
        return
    if missing:
        raise InputError(
            f"joining three orientations needs otf0, otf1 and apodisation, found no {' and no '.join(missing)}; "
            f"give the files (--input {missing[0]}=FILE), or na and wavelength_um instead of all three{advice}"
        )
    sizes = {refs[name][0].grid.only("YX").shape for name in ("otf0", "otf1")}  # type: ignore[union-attr]
    if len(sizes) > 1:
        raise InputError(
            f"otf0 and otf1 should have the same size, found {' and '.join(str(s) for s in sizes)}; give files of one pair"
        )


def with_transfer(plan: Plan, params: JointParams, frame: Frame, index: int) -> Frame:
    """Return a frame with its transfer functions, computed where no file gave them."""
    main = plan.inputs[0]
    optics = _optics(params, main, plan.place(index).get("C", 0))
    if frame["otf0"] is not None or optics is None:
        return frame
    from napari_recon.engines.fusion.joint_wiener.simulated import simulated

    return {**frame, **simulated(*optics, abs(plan.whole["sr"].step("X")))}


def _optics(params: JointParams, ref: InputRef, channel: int = 0) -> tuple[float, float] | None:
    """Return numerical aperture and wavelength, None when one of them is unknown."""
    na = ref.optic("na", channel) if params.na == "auto" else params.na
    wavelength = ref.optic("wavelength_um", channel) if params.wavelength_um == "auto" else params.wavelength_um
    return (float(na), float(wavelength)) if na and wavelength else None
