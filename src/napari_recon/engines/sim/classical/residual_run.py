"""The run of sim.residual: calibrate once per channel, then compare image after image with its raw frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.events import ArtifactReady, BlockReady, Decided, Event, Progress, Warned
from napari_recon.core.frames import Frame
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.calibrate import refine
from napari_recon.engines.sim.classical.noise import checked
from napari_recon.engines.sim.classical.otf import Transfer, transfer_of
from napari_recon.engines.sim.classical.reprojection import BORDER, Comparison, Reprojection
from napari_recon.engines.sim.classical.series import calibrated_series
from napari_recon.engines.sim.params import resolved_optics
from napari_recon.engines.sim.residual import SimResidualParams

#: Standard deviations from which a place counts, and from which one place alone matters.
COUNTS, STANDS_OUT = 5.0, 6.5
#: Shares of the field up to which an image agrees, or agrees but for some places.
AGREES, MOSTLY = 0.002, 0.05


@dataclass(frozen=True, eq=False)
class _Channel:
    """What is known of one channel: transfer, calibration, whether that follows the images, and the comparison for it."""

    transfer: Transfer
    calibration: Calibration
    each: bool
    reprojection: Reprojection


class ResidualRun:
    """What a run keeps from image to image.

    Attributes
    ----------
    samples : callable or None
        Channel -> raw sets that stand for the whole series; without it the first image does.
    """

    def __init__(self, plan: Plan, params: SimResidualParams) -> None:
        self._plan, self._params = plan, params
        self._channels: dict[int, _Channel] = {}
        self.samples: Callable[[int], Sequence[NDArray[np.float32]]] | None = None

    def frame(self, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """Yield the events of one raw set and its reconstruction."""
        token.check()
        raw, image = torch.as_tensor(frame["raw"]), torch.as_tensor(frame["reconstruction"])
        remark = checked(raw, self._params.layout)
        number = self._plan.place(index).get("C", 0)
        if number not in self._channels:
            yield Progress(0, 3, "step", "finding the pattern")
            self._channels[number] = self._found(number, frame, token)
            if self._plan.outputs[0].grid.size("C") == 1:
                yield Decided({"camera_offset": self._channels[number].calibration.camera_offset})
        channel = self._channels[number]
        reprojection = channel.reprojection
        if channel.each:
            followed = refine(channel.calibration, raw, transfer=channel.transfer, token=token)
            reprojection = self._reprojection(followed, channel.transfer)
        yield Progress(1, 3, "step", "imaging the result again")
        comparison = reprojection(raw, image, token.check)
        significance = comparison.significance
        report = agreement(comparison, significance, channel.calibration)
        if remark:
            yield Warned(remark)
        if not report["agrees"]:
            yield Warned(report["verdict"])
        yield ArtifactReady("agreement", "report", report)
        yield Progress(2, 3, "step", "judging the difference")
        images = {"residual": comparison.residual.square().mean(dim=0).sqrt(), "significance": significance}
        if self._params.frames:
            images["frames"] = comparison.residual
        box = self._plan.box
        assert box is not None  # plans resolve it
        for name, array in images.items():
            y, x = box.slices("YX")
            cut = np.ascontiguousarray(array.cpu().numpy()[..., y, x])
            yield BlockReady(name, tuple(slice(0, n) for n in cut.shape), cut)
        yield Progress(3, 3, "step")

    def _found(self, number: int, frame: Frame, token: CancelToken) -> _Channel:
        """Calibrate a channel on the series, or take over a given calibration."""
        params = self._params
        given, psf = Calibration.given(params.calibration), self._plan.input("psf")
        optics = resolved_optics(params, self._plan.inputs[0], number, given)
        transfer = transfer_of(frame, psf.grid if psf else None, optics)
        # a given pattern needs no frames: the series is not read for it
        sets: Sequence[NDArray[np.float32]] = self.samples(number) if self.samples and given is None else [frame["raw"]]
        found = calibrated_series(
            sets, optics, params.layout, transfer=transfer, camera_offset=params.camera_offset, given=given, token=token
        )
        return _Channel(transfer, found.calibration, found.each, self._reprojection(found.calibration, transfer))

    def _reprojection(self, calibration: Calibration, transfer: Transfer) -> Reprojection:
        return Reprojection(
            calibration,
            calibration.shape_yx,
            transfer,
            background_um=self._params.background_um,
            model_error=self._params.model_error,
            device=self._plan.compute.device,
        )


def agreement(comparison: Comparison, significance: Tensor, calibration: Calibration) -> dict[str, Any]:
    """Return how well an image explains its raw frames, in numbers and words.

    ``chi_square`` compares the residual with what noise alone leaves, 1 where only noise is left; below that where the image
    was made from these very frames and follows their noise. ``in_band`` does so where the objective passes light.
    """
    inner = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    residual, signal = comparison.residual[inner], comparison.predicted[inner] + comparison.residual[inner]
    squared = (comparison.smooth.square() / comparison.smooth_variance)[inner].mean(dim=(-2, -1))
    flat = significance[inner].abs()
    share = float((flat > COUNTS).float().mean())
    y, x = (int(i) + BORDER for i in np.unravel_index(int(flat.argmax()), flat.shape))
    strongest = float(significance[y, x])
    supported = supported_to(comparison)
    angles = [_round(squared[list(group.frames)].mean()) for group in calibration.groups]
    verdict, agrees = _words(share, strongest, (y, x), supported)
    if not agrees and (odd := odd_angle(angles)) is not None:
        verdict += f"; most of it is in angle {odd + 1}, whose pattern may be wrong"
    noise = comparison.noise
    return {
        "verdict": verdict,
        "agrees": agrees,
        "normalised_rms": _round(residual.square().mean().sqrt() / signal.square().mean().sqrt()),
        "chi_square": _round((residual.square() / comparison.variance[inner]).mean()),
        "in_band": _round(squared.mean()),
        "in_band_per_angle": angles,
        "share_of_field": _round(share),
        "strongest": {"significance": _round(strongest), "y": y, "x": x},
        "supported_to_per_um": None if supported is None else _round(supported),
        "transfer": [
            {"per_um": _round(f), "weight": _round(w), "error": _round(e)}
            for f, w, e in zip(comparison.rings_per_um, comparison.weights, comparison.errors, strict=True)
        ],
        "noise": {"counts_per_photon": _round(noise.per_count), "constant": _round(noise.constant)},
    }


def supported_to(comparison: Comparison) -> float | None:
    """Return the frequency (cycles/um) beyond which the image's detail is contradicted by the raw frames; None if none is.

    The weights of honest images grow with frequency, since every reconstruction damps fine detail. Detail that is not in
    the raw frames gets hardly any weight.
    """
    for number in range(1, len(comparison.weights)):
        before = comparison.weights[number - 1]
        if comparison.weights[number] + 3 * comparison.errors[number] < 0.5 * before:
            return comparison.rings_per_um[number - 1]
    return None


def odd_angle(in_band: Sequence[float]) -> int | None:
    """Return the angle whose frames disagree far more than those of the others, None when there is none."""
    worst = max(range(len(in_band)), key=lambda angle: in_band[angle])
    others = [value for angle, value in enumerate(in_band) if angle != worst]
    return worst if others and in_band[worst] > 3 * max(others) else None


def _words(share: float, strongest: float, place_yx: tuple[int, int], supported: float | None) -> tuple[str, bool]:
    y, x = place_yx
    kind = "light that was not measured" if strongest < 0 else "too little light"
    where = f"most at y={y}, x={x}, where it has {kind} ({abs(strongest):.0f} standard deviations)"
    detail = ""
    if supported is not None:
        detail = f"; its detail finer than {1 / supported:.3g} um is not in the raw frames" if supported else ""
    stands_out = abs(strongest) > STANDS_OUT
    if share <= AGREES and not stands_out and not detail:
        return "the image explains the raw frames within their noise", True
    if share <= AGREES and not stands_out:
        return f"the image explains the raw frames within their noise{detail}", False
    if share <= MOSTLY:
        return f"the image differs from the raw frames in {max(share, 1e-4):.2%} of the field, {where}{detail}", False
    return f"the image does not explain the raw frames: it differs in {share:.0%} of the field, {where}{detail}", False


def _round(value: float | Tensor) -> float:
    return float(f"{float(value):.4g}")
