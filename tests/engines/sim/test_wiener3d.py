"""sim.wiener3d: three-beam stacks with known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.calibration import Carrier, Group
from napari_recon.engines.sim.classical.otf3d import TransferTable
from napari_recon.engines.sim.classical.volume import first_order
from napari_recon.engines.sim.classical.volume_optics import VolumeOptics
from napari_recon.engines.sim.wiener3d import SimWiener3D
from tests.contract.examples import collect
from tests.engines.sim.volume_data import ThreeBeam, VolumeStack, psf_of, simulate_volume


@pytest.fixture(scope="module")
def stack() -> VolumeStack:
    return simulate_volume(0, n=96, planes=6, angles=2, photons=5000)


def ran(raw: ImageStack, **params: Any) -> tuple[np.ndarray, dict[str, Any]]:
    refs = [InputRef(name="raw", uri="memory:raw", grid=raw.grid, dtype="float32")]
    plan = SimWiener3D().plan(refs, {**ThreeBeam.params, **params}, compute=Compute(device="cpu", threads=1))
    events = list(SimWiener3D().run(plan, {"raw": [raw]}))
    report = next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "quality")
    return collect(events, "sr"), report


def test_the_volume_is_nearer_to_the_object_than_the_wide_field(stack: VolumeStack) -> None:
    volume, report = ran(ThreeBeam.raw(stack))
    assert volume.shape == (6, 192, 192) and report["verdict"] == "clear"
    sharp = gaussian_filter(stack.objects, (1.5, 1.3, 1.3))
    inner = (slice(1, -1), slice(16, -16), slice(16, -16))

    def likeness(image: np.ndarray) -> float:
        return float(np.corrcoef(image[inner].ravel(), sharp[inner].ravel())[0, 1])

    wide = np.kron(stack.frames.mean(axis=0), np.ones((1, 2, 2)))
    assert likeness(wide) < 0.75 and likeness(volume) > 0.93
    for axis in (1, 2):
        assert likeness(np.roll(volume, 1, axis)) < likeness(volume), "index 2 j lies on raw pixel j"
    for row, k in zip(report["angles"], stack.k, strict=True):
        assert row["first_order"] == pytest.approx(0.4, rel=0.2) and row["second_order"] == pytest.approx(0.3, rel=0.35)
        found, second = np.array(row["k_per_um"]), 2 * np.array(k)
        assert min(np.linalg.norm(found * n - second * s) for n in (1, 2) for s in (1, -1)) < 0.03


def test_pages_in_other_orders_give_the_same_volume(stack: VolumeStack) -> None:
    expected, _ = ran(ThreeBeam.raw(stack), wiener=0.01)
    frames = stack.frames.reshape(2, 5, 6, 96, 96)
    pages = ImageStack.of(frames.transpose(2, 1, 0, 3, 4).reshape(60, 96, 96), "NYX", "raw", **ThreeBeam.place("YX"))
    with pytest.raises(InputError, match="plane distance"):
        ran(pages, frame_order="zpa")
    named = ImageStack.of(frames.transpose(2, 1, 0, 3, 4), "ZPAYX", "raw", **ThreeBeam.place("ZYX"))
    np.testing.assert_array_equal(ran(named, wiener=0.01)[0], expected)


def test_one_plane_and_other_patterns_are_refused(stack: VolumeStack) -> None:
    one = ImageStack.of(stack.frames[:, :1], "NZYX", "raw", **ThreeBeam.place("ZYX"))
    with pytest.raises(InputError, match="at least 3 planes"):
        ran(one)
    with pytest.raises(InputError, match="pattern=stripes"):
        ran(ThreeBeam.raw(stack), pattern="hexagonal", phases=10)


def test_the_table_is_the_spectrum_of_the_point_spread_function() -> None:
    optics = VolumeOptics(1.2, 0.525, 0.488, 1.33, (0.15, 0.1, 0.1))
    shape = (24, 128, 128)
    psf, z = psf_of(shape, optics.pixel_um, optics.na, optics.wavelength_um, optics.refractive_index)
    f = np.fft.fftfreq(128, 0.1)
    for kz in (0.0, 0.9):
        spectrum = np.fft.fftn(psf * np.cos(2 * np.pi * kz * z)[:, None, None]).real / shape[0]
        found = TransferTable(optics, 24)(torch.from_numpy(np.hypot(f[:, None], f[None])), kz).numpy()
        assert np.abs(found - spectrum).max() < 0.03


@pytest.mark.parametrize(("step", "order"), [(72, 1), (144, 2), (-72, 1), (-144, 2)])
def test_which_order_a_carrier_is(step: int, order: int) -> None:
    phases = tuple(float(p) for p in np.radians(17 + step * np.arange(5)))
    k, rows = first_order(
        Group(frames=tuple(range(5)), carriers=(Carrier(k_per_um=(3.0, 1.0), modulation=1, phases_rad=phases),))
    )
    assert k == (3.0 / order, 1.0 / order)
    turn = torch.polar(torch.ones(5, dtype=torch.float64), torch.tensor(phases, dtype=torch.float64))
    assert abs((rows[order] * turn).sum()) == pytest.approx(1.0)
    for other in {0, 1, 2} - {order}:
        assert abs((rows[other] * turn).sum()) < 1e-9
