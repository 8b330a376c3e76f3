from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.calibration import Calibration, Carrier, Group
from napari_recon.engines.sim.layout import Layout
from napari_recon.engines.sim.params import Optics
from napari_recon.viewer.sim_diagnosis import Diagnoser, Diagnosis
from napari_recon.viewer.sim_frames import Pages, power_spectrum, recognised, thumbnails
from napari_recon.viewer.sim_spectrum import SpectrumLayers
from tests.engines.sim.sim_data import simulate

PIXEL = 0.08


def numbered(shape: tuple[int, ...], axes: str) -> ImageStack:
    """Every page holds its own number, and a gradient so that it is no constant."""
    data = np.zeros(shape, np.float32)
    data += np.arange(np.prod(shape[:-2])).reshape(*shape[:-2], 1, 1)
    return ImageStack(data, Grid.of(axes, shape), "raw")


@pytest.mark.parametrize(("order", "first"), [("ap", [0, 1, 2, 3, 4, 5]), ("pa", [0, 2, 4, 1, 3, 5])])
def test_frames_come_angle_by_angle_whatever_the_order(order: str, first: list[int]) -> None:
    pages = Pages(numbered((12, 6, 8), "NYX"), Layout(2, 3), order)
    assert pages.frames(4)[:, 0, 0].tolist() == first
    assert pages.frames(4, {"T": 1})[:, 0, 0].tolist() == [n + 6 for n in first]
    assert pages.frames(4).shape == (6, 4, 4) and pages.frames(100).shape == (6, 6, 8)


def test_thumbnails_share_one_contrast_and_stripes_are_what_differs_from_the_mean() -> None:
    rng = np.random.default_rng(0)
    scene = rng.random((40, 40)) * 100
    stripes = np.cos(np.arange(40) * 2 + np.arange(3)[:, None] * 2 * np.pi / 3)
    frames = np.stack([scene + 10 * stripes[p] for p in range(3)])
    stack = ImageStack(frames.astype(np.float32), Grid.of("NYX", frames.shape), "raw")
    pages = Pages(stack, Layout(1, 3), "ap")
    plain, only = thumbnails(pages, False), thumbnails(pages, True)
    assert plain.shape == only.shape == (1, 3, 40, 40) and plain.dtype == np.uint8
    alike = np.corrcoef(plain[0, 0].ravel(), scene.ravel())[0, 1]
    unlike = np.corrcoef(only[0, 0].ravel(), scene.ravel())[0, 1]
    assert alike > 0.9 and abs(unlike) < 0.2
    assert np.ptp(only.astype(int), axis=2).max() <= 1  # stripes do not change along themselves


@given(st.integers(1, 5), st.integers(3, 7), st.integers(1, 3))
def test_what_fits_is_left_alone_and_what_is_proposed_fits(angles: int, phases: int, sets: int) -> None:
    grid = Grid.of("NYX", (angles * phases * sets, 4, 4))
    assert recognised(grid, Layout(angles, phases), "ap") is None
    found = recognised(grid, Layout(5, 15), "ap")
    assert found is None or grid.size("N") % found.frames == 0


@pytest.mark.parametrize(
    ("shape", "axes", "layout"), [((15, 8, 8), "NYX", (3, 5)), ((25, 8, 8), "NYX", (5, 5)), ((2, 5, 8, 8), "APYX", (2, 5))]
)
def test_usual_stacks_are_recognised(shape: tuple[int, ...], axes: str, layout: tuple[int, int]) -> None:
    assert recognised(Grid.of(axes, shape), Layout(3, 3), "ap") == Layout(*layout)


def test_unfit_pages_are_refused() -> None:
    with pytest.raises(InputError, match="2 x 5"):
        Pages(numbered((10, 6, 8), "NYX"), Layout(3, 3), "ap").frames(4)


def test_bad_pixels_leave_a_spectrum_to_look_at() -> None:
    frames = np.random.default_rng(0).random((9, 32, 32)).astype(np.float32)
    whole = power_spectrum(frames)
    frames[4, 3, 5], frames[2, 1, 1] = np.nan, np.inf
    assert np.abs(power_spectrum(frames) - whole).max() < 0.2


def test_a_cosine_has_its_peak_where_its_frequency_is() -> None:
    n, cycles = 64, (9, -14)
    y, x = np.mgrid[:n, :n] / n
    frames = np.cos(2 * np.pi * (cycles[0] * y + cycles[1] * x))[None].astype(np.float32)
    spectrum = power_spectrum(frames)
    at = np.unravel_index(spectrum.argmax(), spectrum.shape)
    assert {tuple(int(i) - n // 2 for i in at)} <= {cycles, (-cycles[0], -cycles[1])}
    assert spectrum.max() == 0


def diagnosis(na: float = 1.2, k: tuple[float, float] = (2.0, 1.0), verdict: str = "clear") -> Diagnosis:
    carrier = Carrier(k_per_um=k, modulation=0.8, phases_rad=(0.0, 2.1, 4.2), peak_to_noise=20, verdict=verdict)
    found = Calibration(
        na=na,
        wavelength_um=0.525,
        pixel_um=(PIXEL, PIXEL),
        shape_yx=(64, 64),
        angles=1,
        phases=3,
        groups=(Group(frames=(0, 1, 2), carriers=(carrier,)),),
    )
    spectrum = power_spectrum(np.random.default_rng(0).random((1, 32, 32), dtype=np.float32))
    return Diagnosis(spectrum, Optics(na, 0.525, (PIXEL, PIXEL)), found)


@pytest.fixture
def raw(viewer: ViewerModel) -> Any:
    data = np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)
    place = {"scale": (1, PIXEL, PIXEL), "translate": (0, 5, -3), "units": ("pixel", "um", "um")}
    return viewer.add_layer(Image(data, name="raw", **place))


def test_spectrum_circle_and_carriers_lie_where_their_frequencies_are(viewer: ViewerModel, raw: Any) -> None:
    layers = SpectrumLayers(viewer)
    active = viewer.layers.selection.active
    layers.show(diagnosis(), raw)
    assert viewer.layers.selection.active is active
    spectrum, circle, carriers = layers.layers
    edges = [np.array([[-0.5, 0.5]]).T * x.scale[-2:] + x.extent.world[:, -2:] for x in (spectrum, raw)]
    np.testing.assert_allclose(*edges, atol=1e-6)
    zero = spectrum.data_to_world((16, 16))
    np.testing.assert_allclose(circle.data_to_world((0, 0)), zero)
    np.testing.assert_allclose(carriers.data, [(1, 2), (-1, -2)])
    # k in pixels of the spectrum: frequency times number of pixels times pixel size
    expected = 16 + np.array((1, 2)) * 32 * PIXEL
    np.testing.assert_allclose(spectrum.world_to_data(carriers.data_to_world((1, 2))), expected)
    assert circle.data[0].max() == pytest.approx(2 * 1.2 / 0.525)


def test_overlays_follow_and_leave_together(viewer: ViewerModel, raw: Any) -> None:
    layers, gone = SpectrumLayers(viewer), []
    layers.removed.connect(lambda: gone.append(True))
    layers.show(diagnosis(), raw)
    circle = layers.circle
    layers.show(diagnosis(na=1.0, k=(3.0, 0.0)), raw)
    assert layers.circle is circle and circle.data[0].max() == pytest.approx(2 / 0.525)
    np.testing.assert_allclose(np.abs(layers.carriers.data), [(0, 3), (0, 3)])
    nothing = diagnosis()
    layers.show(Diagnosis(nothing.spectrum, nothing.optics, None, "pattern not found"), raw)
    assert layers.carriers is None and layers.circle is circle
    layers.show(Diagnosis(nothing.spectrum), raw)  # no optics: only the spectrum is left
    assert layers.circle is None and list(viewer.layers) == [raw, layers.spectrum]
    layers.show(diagnosis(), raw)
    viewer.layers.remove(layers.carriers)
    assert gone == [True] and list(viewer.layers) == [raw]
    layers.close()


def test_quick_look_finds_the_pattern_and_says_why_not() -> None:
    truth = simulate(3, n=96)
    grid = Grid.of("NYX", truth.frames.shape, {"Y": 0.065, "X": 0.065}, units={"Y": "micrometer", "X": "micrometer"})
    pages = Pages(ImageStack(truth.frames, grid, "raw"), Layout(3, 3), "ap")
    look = Diagnoser()
    missing = look.look(pages, {}, {}, None)
    assert missing.optics is None and "na is needed" in missing.problem and missing.spectrum.shape == (96, 96)
    known = {"na": truth.na, "wavelength_um": truth.wavelength_um, "iterations": 3}
    found = look.look(pages, {}, known, 0)
    assert found.calibration is not None and found.problem == ""
    for group, (k,) in zip(found.calibration.groups, truth.k_ac, strict=True):
        error = min(np.hypot(*(np.array(group.carriers[0].k_per_um) - sign * np.array(k))) for sign in (1, -1))
        assert error < 0.02
    swapped = look.look(Pages(pages.stack, pages.layout, "pa"), {}, known, None)
    assert swapped.calibration is None and "frame_order" in swapped.problem
