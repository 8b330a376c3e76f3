"""The fit of Fourier ptychography as a stream of events.

Only queries of this modality are published. The field is the published one; what it is fitted to follows from the physics of
ptychography: square roots of intensities, whose noise is the same everywhere, under lamps that take turns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_recon.core.errors import Cancelled, InputError
from napari_recon.core.events import ArtifactReady, BlockReady, CheckpointSaved, Event, MetricLogged, Progress, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.fit_params import FitParams
from napari_recon.engines.lightfield_inr.fit_run import FitRun, Volume
from napari_recon.engines.lightfield_inr.ptychography.field import TableField
from napari_recon.engines.lightfield_inr.ptychography_params import MEDIUM, table_shape
from napari_recon.optics.ptychography import Ptychograph, PtychographOptics

MOST_STEPS = 400
#: Images of a step, and waves (lamps x voxels) that are computed together at most.
TOGETHER, WAVES = 12, 1 << 24
TABLE_RATE, NETWORK_RATE = 1e-2, 3e-3
#: Passes over all images after which the loss is looked at, and the part by which it has to fall to go on.
LOOK, ENOUGH = 4, 0.01
#: Intensity at which a root's slope is bounded.
TINY = 1e-12


class PtychographyRun(FitRun):
    """One fit of a refractive-index volume."""

    def __init__(self, plan: Plan, params: FitParams, frames: Sequence[Volume]) -> None:
        super().__init__(plan, params, frames, None)
        self._device = torch.device("cpu" if plan.compute.device == "mps" else plan.compute.device)
        grid, views = plan.whole["volume"], frames[0]
        assert params.na is not None and params.wavelength_um is not None and not isinstance(params.leds, str)
        size = {axis: abs(grid.step(axis)) * params.upsampling for axis in "YX"}
        optics = PtychographOptics(
            params.na, params.wavelength_um, (size["Y"], size["X"]), params.upsampling, params.plane_um, MEDIUM
        )
        height, width = views.shape[1:]
        self._beyond = [math.hypot(*lamp) >= params.na for lamp in params.leds]
        self._graph = Ptychograph(optics, (height, width), params.leds, params.thickness, self._device)
        bright = float(np.median(views[[not dark for dark in self._beyond]]))
        if bright <= 0:
            raise InputError("images of lamps inside the aperture should be bright, found none; check leds and the data")
        self._wanted = torch.from_numpy(np.sqrt(np.clip(views / bright, 0, None))).to(self._device)
        self._bright = bright
        self._step = 0
        self._losses: list[float] = []

    def events(self, token: CancelToken) -> Iterator[Event]:
        """Yield the events of the run.

        Raises
        ------
        Cancelled
            After a checkpoint and the field so far were yielded.
        """
        params = self._params
        torch.manual_seed(self._plan.compute.seed)
        field = TableField(table_shape(self._plan.whole["volume"].shape)).to(self._device)
        tables, others = [field.table], [p for name, p in field.named_parameters() if name != "table"]
        optimiser = torch.optim.Adam([{"params": tables, "lr": TABLE_RATE}, {"params": others, "lr": NETWORK_RATE}])
        if params.resume:
            self._restore(field, optimiser)
        if all(not beyond for beyond in self._beyond):
            yield Warned(
                "no lamp lies beyond the objective's aperture, so the result resolves little more than the images do"
            )
        total = MOST_STEPS if params.iterations == "auto" else params.iterations
        try:
            while self._step < total and not self._enough(len(self._wanted)):
                loss = self._stepped(field, optimiser, token)
                yield MetricLogged("loss", self._step, loss)
                yield Progress(self._step, total, "step")
                if self._step % params.checkpoint_every == 0:
                    yield self._checkpoint(field, optimiser)
                yield from self._preview(lambda: self._cropped(self._volume(field)), self._step)
                token.check()
                if token.finishing:
                    break
        except Cancelled:
            if self._step:
                yield self._checkpoint(field, optimiser)
                yield from self._models(field)
            raise
        yield BlockReady("volume", *self._placed(self._cropped(self._volume(field))))
        recent = float(np.mean(self._losses[-len(self._wanted) :]))
        yield ArtifactReady("report", "report", {"steps": self._step, "amplitude_error": round(recent**0.5, 5)})
        yield from self._models(field)

    def _stepped(self, field: TableField, optimiser: torch.optim.Adam, token: CancelToken) -> float:
        """Do one step on some images; which ones follows from its number."""
        count = len(self._wanted)
        at_once = min(TOGETHER, count)
        passed, place = divmod(self._step * at_once, count)
        orders = [np.random.default_rng((self._plan.compute.seed, passed + n)).permutation(count) for n in (0, 1)]
        lamps = [int(n) for n in np.concatenate(orders)[place : place + at_once]]
        optimiser.zero_grad(set_to_none=True)
        index = field()[: self._params.thickness, : self._size[0], : self._size[1]]
        kept = index.detach().requires_grad_()
        group, loss = max(1, WAVES // max(1, kept.numel() * 4)), 0.0
        for first in range(0, at_once, group):
            token.check()
            some = lamps[first : first + group]
            found = (self._graph.images(kept, some) + TINY).sqrt()
            part = (found - self._wanted[some]).square().mean(dim=(1, 2)).sum() / at_once
            part.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
        index.backward(kept.grad)
        token.check()
        optimiser.step()
        self._step += 1
        self._losses.append(loss)
        return loss

    @property
    def _size(self) -> tuple[int, int]:
        grid = self._plan.whole["volume"]
        return grid.size("Y"), grid.size("X")

    def _enough(self, images: int) -> bool:
        """Return whether the loss stands still."""
        each = max(1, round(LOOK * images / min(TOGETHER, images)))
        if self._params.iterations != "auto" or len(self._losses) < 3 * each:
            return False
        before, now = np.mean(self._losses[-2 * each : -each]), np.mean(self._losses[-each:])
        return bool(now > (1 - ENOUGH) * before)

    def _volume(self, field: TableField) -> Volume:
        with torch.no_grad():
            index: Tensor = field()[: self._params.thickness, : self._size[0], : self._size[1]]
            found: Volume = index.cpu().numpy()
        return found

    def _key(self) -> str:
        """Return what a checkpoint must share to be gone on with."""
        params = self._params
        shared = params.na, params.wavelength_um, params.leds, params.upsampling, params.thickness, params.plane_um
        return f"{self._digest(0)} {shared}"

    def _checkpoint(self, field: TableField, optimiser: torch.optim.Adam) -> CheckpointSaved:
        path = self._folder / "checkpoint.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "data": self._key(),
            "step": self._step,
            "losses": list(self._losses),
            "field": field.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        torch.save({"ptychography": content}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)  # always a whole one
        return CheckpointSaved(str(path), self._step)

    def _restore(self, field: TableField, optimiser: torch.optim.Adam) -> None:
        path = Path(self._params.resume).expanduser()
        try:
            kept: Any = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # torch's own words are long and speak of programs
            raise InputError(
                f"{path} should be a checkpoint of a fit, found a damaged or other file; choose another"
            ) from None
        kept = kept.get("ptychography") if isinstance(kept, dict) else None
        if not isinstance(kept, dict) or kept["data"] != self._key():
            raise InputError(
                "resume goes on from a checkpoint of the same data, found one of other images, optics or lamps; leave it out"
            )
        field.load_state_dict(kept["field"])
        optimiser.load_state_dict(kept["optimiser"])
        self._step, self._losses = kept["step"], list(kept["losses"])

    def _models(self, field: TableField) -> Iterator[Event]:
        """Yield the field with its card, and in the published layout, a bare state."""
        state = {name: tensor.detach().cpu() for name, tensor in field.state_dict().items()}
        card = self._card("nerf_ex", 0, {"steps": self._step}, table=list(state["table"].shape))
        card["options"].pop("render_size")
        yield ArtifactReady("model", "model", {"state": {name: t.numpy() for name, t in state.items()}, "card": card})
        path = Path(mkdtemp(prefix="napari-recon-")) / "cp.tar"
        torch.save(state, path)
        yield ArtifactReady("checkpoint", "file", str(path))
