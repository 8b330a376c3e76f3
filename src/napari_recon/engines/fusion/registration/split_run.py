"""The run of fusion.split_views: the mirror is found once, then every frame is sampled on both of its sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress, Warned
from napari_recon.core.grid import Grid
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.registration.published import (
    Search,
    published_places,
    published_search,
    published_views,
)
from napari_recon.engines.fusion.registration.refine import Refiner, correlation
from napari_recon.engines.fusion.registration.search import coarse_search
from napari_recon.engines.fusion.registration.split_transform import SplitTransform
from napari_recon.engines.fusion.registration.turning import centred, sampled
from napari_recon.engines.fusion.split_views import margins_of, planes_of, voxel_of

if TYPE_CHECKING:
    from napari_recon.engines.fusion.split_views import SplitViewsParams

#: Correlation of both views below which there is no mirror in the volume.
LEAST_CORRELATION = 0.05
#: A view this much darker than the other is missing.
LEAST_LIGHT = 0.05
#: Part of the correlation with which the mirror was found that both views of a frame should have.
LEAST_MATCH = 0.25


class Splitter:
    """Keeps the transform of a run and splits its frames."""

    def __init__(self, plan: Plan, params: SplitViewsParams, raw: Grid) -> None:
        self._plan, self._params = plan, params
        self._device = torch.device(plan.compute.device)
        self._voxel = voxel_of(raw, params.skew_axis)
        self._margins = margins_of(raw, params)
        self._planes = planes_of(raw, params)
        self._shape = (raw.size("Z"), raw.size(params.across), raw.size(params.skew_axis.upper()))
        self.transform = SplitTransform.given(params.transform)
        self._offset = 0

    def register(self, first: NDArray[np.float32], token: CancelToken) -> Iterator[Event]:
        """Find the transform in a frame, (z, y, x), unless one was given; yield it."""
        if self.transform is not None and self._params.compat == "none":
            yield ArtifactReady("transform", "transform", self.transform.model_dump(mode="json"))
            return
        yield Progress(0, 1, "step", "finding the mirror")
        volume = self._volume(first)
        if self._params.compat == "upstream":
            self._published(volume, token)
        else:
            yield from self._found(_above_background(volume), token)
        assert self.transform is not None
        yield ArtifactReady("transform", "transform", self.transform.model_dump(mode="json"))

    def frame(self, array: NDArray[np.float32], index: int, token: CancelToken) -> Iterator[Event]:
        """Yield both views of a frame, (z, y, x), and how well they match."""
        token.check()
        transform, box = self.transform, self._plan.box
        assert transform is not None and box is not None  # registered before; plans resolve boxes
        volume = self._volume(array)
        above = _above_background(volume)
        dim = missing_view(above, self._voxel, transform, self._planes, token)
        if dim is not None:
            which = f"frame {index + 1}" if self._plan.frames > 1 else "the volume"
            yield Warned(f"{which} holds hardly any light in view_{dim}; one view of it is missing or bleached")
        views = self._views(volume, transform, token)
        names = [name for name in ("view_a", "view_b") if any(spec.name == name for spec in self._plan.outputs)]
        for name, view in zip(names, views, strict=True):
            cut = view if self._params.compat == "none" else view[box.slices("ZYX")]
            yield BlockReady(name, tuple(slice(0, n) for n in cut.shape), np.ascontiguousarray(cut))
        after = correlation(above, self._voxel, transform, self._planes, token.check)
        if dim is None and after < LEAST_MATCH * transform.correlation:
            yield Warned(
                f"frame {index + 1} hardly matches in both views (correlation {after:.2f}, {transform.correlation:.2f} "
                "where the mirror was found); one view of it is missing, or the sample moved"
            )
        yield ArtifactReady("report", "report", self._report(index, after, dim))

    def _views(self, volume: Tensor, transform: SplitTransform, token: CancelToken) -> list[NDArray[np.float32]]:
        """Return both views, (z, y, x): the asked box, with compat=upstream all of them."""
        params = self._params
        if params.compat == "upstream":
            found = published_views(
                volume, self._voxel, (transform.angle_y_deg, transform.angle_x_deg), self._offset, self._planes, token.check
            )
            whole = [torch.nn.functional.pad(v, (0, 0, 0, 0, self._planes - len(v), 0)) for v in found]
            return [self._oriented(v) for v in whole]
        box = self._plan.box
        assert box is not None
        bounds = dict(box.items())
        z = transform.mirror_um - (self._planes - 0.5 - torch.arange(*bounds["Z"], dtype=torch.float64)) * self._voxel[2]
        y = centred(self._shape[1], self._voxel[1])[slice(*bounds[params.across])]
        x = centred(self._shape[2], self._voxel[2])
        x = (x.flip(0) if params.orientation == "published" else x)[slice(*bounds[params.skew_axis.upper()])]
        views = []
        for mirrored in (False, True):
            views.append(sampled(volume, self._voxel, *transform.source(mirrored), (z, y, x), token.check, edge=0.5))
        return [self._oriented(view) for view in views]

    def _published(self, volume: Tensor, token: CancelToken) -> None:
        params = self._params
        low, high = params.z_range if params.z_range != "auto" else (-(self._shape[0] // 4), self._shape[0] // 4)
        search = Search(params.angle_deg, params.angles, (0.0,), (low, high), self._margins[0])
        angle_y, angle_x, self._offset = published_search(volume, self._voxel, search, token.check)
        total = params.angle_deg + angle_y
        (z, _, _), _ = published_places(self._shape, self._voxel, total, angle_x)
        mirror = float(z[0]) + ((self._shape[0] + self._offset) / 2 - 0.5) * self._voxel[2]
        self.transform = self._transform(total, angle_x, mirror, "published")

    def _found(self, above: Tensor, token: CancelToken) -> Iterator[Event]:
        params = self._params
        planes = None if params.z_range == "auto" else (params.z_range[0], params.z_range[1] + 1)
        args = (params.angles, planes, self._margins, token.check)
        best = coarse_search(above, self._voxel, params.angle_deg, *args)
        turned_round = coarse_search(above, self._voxel, -params.angle_deg, (0.0,), planes, self._margins, token.check)
        if turned_round.correlation > best.correlation + 0.1:
            yield Warned(
                f"both sides match better with angle_deg {-params.angle_deg:g} (correlation {turned_round.correlation:.2f}) "
                f"than with {params.angle_deg:g} ({best.correlation:.2f}); the angle seems to have the wrong sign"
            )
        step = self._voxel[2]
        level = coarse_search(above, self._voxel, params.angle_deg, (0.0,), planes, self._margins, token.check)
        found = self._transform(params.angle_deg, best.angle_x_deg, best.mirror * step, "searched")
        flat = self._transform(params.angle_deg, 0.0, level.mirror * step, "searched")
        quality = {
            "correlation_nominal": correlation(above, self._voxel, flat, self._planes, token.check),
            "correlation_searched": correlation(above, self._voxel, found, self._planes, token.check),
        }
        if params.refine:
            yield Progress(0.5, 1, "step", "refining")
            refiner = Refiner(above, self._voxel, self._planes, token.check)
            refined = refiner.refined(found)
            if refined is found:
                yield Warned("too few places match in both views to refine the search; its result is used as it is")
            else:
                found = refined.model_copy(update={"method": "refined"})
        quality["correlation"] = correlation(above, self._voxel, found, self._planes, token.check)
        if max(quality.values()) < LEAST_CORRELATION:
            raise InputError(
                "two mirrored views should be in the volume, found nothing that matches "
                f"(correlation {quality['correlation']:.2f}); check angle_deg, z_range and skew_axis, "
                "or give the transform of another frame"
            )
        if quality["correlation"] + 1e-3 < quality["correlation_searched"]:
            yield Warned(
                f"refining did not help (correlation {quality['correlation']:.3f} after "
                f"{quality['correlation_searched']:.3f}); look at both views, or use refine=false"
            )
        self.transform = found.model_copy(update={n: round(v, 5) for n, v in quality.items()})

    def _transform(self, angle_y: float, angle_x: float, mirror_um: float, method: str) -> SplitTransform:
        return SplitTransform(
            axis=self._params.skew_axis,
            angle_y_deg=angle_y,
            angle_x_deg=angle_x,
            mirror_um=mirror_um,
            voxel_um=self._voxel,
            shape_zyx=self._shape,
            method=method,
        )

    def _volume(self, array: NDArray[np.float32]) -> Tensor:
        """Return (z, across, along the skew axis) on the device."""
        turned = array if self._params.skew_axis == "x" else array.transpose(0, 2, 1)
        return torch.from_numpy(np.array(turned, dtype=np.float32, order="C")).to(self._device)

    def _oriented(self, view: Tensor) -> NDArray[np.float32]:
        found: NDArray[np.float32] = (view if self._params.skew_axis == "x" else view.transpose(1, 2)).cpu().numpy()
        return found

    def _report(self, index: int, after: float, missing: str | None) -> dict[str, Any]:
        transform = self.transform
        assert transform is not None
        return {
            "frame": index,
            "method": transform.method,
            "angle_y_deg": round(transform.angle_y_deg, 4),
            "angle_x_deg": round(transform.angle_x_deg, 4),
            "mirror_um": round(transform.mirror_um, 5),
            "shift_um": [round(s, 5) for s in transform.shift_um],
            "offset_planes": self._offset if transform.method == "published" else None,
            "correlation_nominal": transform.correlation_nominal,
            "correlation_searched": transform.correlation_searched,
            "correlation": round(after, 5),
            "missing_view": missing,
        }


def missing_view(
    above: Tensor, voxel_um: tuple[float, float, float], transform: SplitTransform, planes: int, token: CancelToken
) -> str | None:
    """Return ``"a"`` or ``"b"`` when that view holds hardly any light beside the other, else None."""
    skip = max(1, planes // 24)
    z = transform.mirror_um - (torch.arange(0, planes, skip, dtype=torch.float64) + 0.5) * voxel_um[2]
    places = (z, centred(above.shape[1], voxel_um[1])[::skip], centred(above.shape[2], voxel_um[2])[::skip])
    light = [
        float(sampled(above, voxel_um, *transform.source(m), places, token.check).sum(dtype=torch.float64))
        for m in (False, True)
    ]
    if min(light) >= LEAST_LIGHT * max(light):
        return None
    return "a" if light[0] < light[1] else "b"


def _above_background(volume: Tensor) -> Tensor:
    """Return the volume above its most usual dark level, 0 below."""
    some = volume.flatten()[:: max(1, volume.numel() // 2**20)]
    return (volume - some.median()).clamp_min_(0)
