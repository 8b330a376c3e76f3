"""serenet.realign: the grid of lenslets, resampling, scans, and what is said about unfit data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Decided, OutputOpened, Warned
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.serenet.realign import Realign, positions_of
from napari_recon.engines.serenet.realigning.find import find_lenslets
from napari_recon.engines.serenet.realigning.lenslets import LensletGrid, fitted
from napari_recon.engines.serenet.realigning.sample import flat_field, sampled_views
from napari_recon.engines.serenet.realigning.scan import Continuity, cells_of, interleaved, usual_orders

from .lenslet_pictures import Ball, lenslet_picture, photographed, scanned

GRID = LensletGrid(11.37, 0.83, (58.2, 64.9))


def run(params: dict, **pictures: np.ndarray) -> tuple[np.ndarray, list]:
    """Return views and events."""
    inputs = {n: [a if isinstance(a, ImageStack) else ImageStack.of(a, "TYX"[-a.ndim :], n)] for n, a in pictures.items()}
    refs = [InputRef(name=n, uri=n, grid=s[0].grid, dtype=str(s[0].dtype)) for n, s in inputs.items()]
    engine = Realign()
    events = list(engine.run(engine.plan(refs, params), inputs))
    views = np.full(next(e for e in events if isinstance(e, OutputOpened)).spec.grid.shape, np.nan)
    for event in events:
        if isinstance(event, BlockReady):
            views[event.slices] = event.array
    return views, events


def said(events: list) -> str:
    return " ".join(e.message for e in events if isinstance(e, Warned))


def decided(events: list) -> dict:
    return next((dict(e.params) for e in events if isinstance(e, Decided)), {})


grids = st.builds(
    LensletGrid,
    st.floats(4, 40),
    st.floats(-44, 44),
    st.tuples(st.floats(-50, 500), st.floats(-50, 500)),
    st.floats(0.9, 1.1),
)


@given(grids, st.floats(-30, 30), st.floats(-30, 30))
def test_lenslets_and_places_are_inverse(grid: LensletGrid, row: float, column: float) -> None:
    there = np.array([row, column])
    np.testing.assert_allclose(grid.lenslets(grid.places(there)), there, atol=1e-6)
    assert np.hypot(*(np.array(grid.around((100.0, 90.0)).centre) - (100, 90))) <= 0.8 * grid.pitch_px


@given(grids)
def test_a_grid_follows_from_points_on_it(grid: LensletGrid) -> None:
    points = grid.places(np.array([(0, 0), (0, 1), (1, 0), (2, 3), (5, 4), (3, 7)], dtype=float))
    near = LensletGrid(grid.pitch_px * 1.02, grid.rotation_deg + 1, (0.0, 0.0), grid.stretch)
    found = fitted(points, near)
    assert found.pitch_px == pytest.approx(grid.pitch_px, rel=1e-6)
    assert found.rotation_deg == pytest.approx(grid.rotation_deg, abs=1e-5)


def test_an_even_picture_tells_the_grid_to_the_last_digit() -> None:
    rng = np.random.default_rng(1)
    grid = LensletGrid(11.37, 0.83, (58.2, 64.9), 1.004)
    picture = photographed(lenslet_picture((180, 200), grid, [], 1.0, vignetting=0.6), rng, 300)
    found = find_lenslets(picture, 13.0, even=True).grid
    truth = grid.around(((180 - 1) / 2, (200 - 1) / 2))
    assert found.pitch_px == pytest.approx(truth.pitch_px, rel=3e-4)
    assert found.rotation_deg == pytest.approx(truth.rotation_deg, abs=0.005)
    assert found.centre == pytest.approx(truth.centre, abs=0.05)
    assert found.stretch == pytest.approx(1.004, abs=3e-4)


def test_out_of_focus_light_does_not_change_the_grid() -> None:
    """As a periodic pattern, a ball above the focus has another pitch than the lenslets."""
    rng = np.random.default_rng(2)
    balls = [Ball((4.0, 1.0, -2.0), 5.0), Ball((5.0, -6.0, 5.0), 3.0)]
    clean = lenslet_picture((320, 340), GRID, balls, 0.2, samples=2)
    found = find_lenslets(photographed(clean, rng, 800), 11.0)
    truth = GRID.around((159.5, 169.5))
    assert found.grid.pitch_px == pytest.approx(truth.pitch_px, rel=5e-4)
    assert found.grid.rotation_deg == pytest.approx(truth.rotation_deg, abs=0.02)
    assert found.grid.centre == pytest.approx(truth.centre, abs=0.2)
    assert 0 < found.pitch_error < 1e-3


@pytest.mark.parametrize("nominal", [8.0, 15.0])
def test_a_rough_pitch_is_enough(nominal: float) -> None:
    picture = lenslet_picture((150, 160), GRID, [], 1.0)
    assert find_lenslets(picture, nominal).grid.pitch_px == pytest.approx(GRID.pitch_px, rel=1e-3)


def test_noise_shows_no_lenslets() -> None:
    for seed in range(3):
        with pytest.raises(InputError, match=r"no lenslets .* visible.*; give a white picture"):
            find_lenslets(np.random.default_rng(seed).normal(100, 5, (150, 170)), 13.0)


def test_a_hexagonal_array_is_named() -> None:
    y, x = np.mgrid[:160, :170].astype(float)
    waves = [np.cos(2 * np.pi / 10 * (np.cos(a) * x + np.sin(a) * y)) for a in np.deg2rad([10, 70, 130])]
    with pytest.raises(InputError, match=r"hexagonal one \(pitch 11\."):
        find_lenslets(100 + 10 * sum(waves), 11.5)


def test_views_are_what_lies_behind_the_lenslets() -> None:
    """A picture that is a plane: every view is that plane at the places of its pixels."""
    y, x = np.mgrid[:120, :130].astype(float)
    first = (-3, -2)
    views = sampled_views(2 * y + 3 * x, GRID, 9, first, (0, 5), (0, 4))
    for u, v, i, j in ((4, 4, 0, 0), (0, 8, 2, 1), (7, 3, 4, 3)):
        place = GRID.places(np.array([first[0] + i + (u - 4) / 9, first[1] + j + (v - 4) / 9]))
        assert views[u * 9 + v, i, j] == pytest.approx(place @ (2.0, 3.0), rel=2e-4)


def test_a_white_picture_makes_even_light_even() -> None:
    shape, rng = (130, 140), np.random.default_rng(3)
    uneven = 1 + 0.4 * np.linspace(-1, 1, shape[0])[:, None] * np.ones(shape[1])
    white = 1000 * uneven * lenslet_picture(shape, GRID, [], 1.0, samples=2) + 5 + rng.normal(0, 1, shape)
    views, _ = run({"nnum": 11}, raw=0.3 * white, white=white)
    middle = views[5 * 11 + 5]
    assert middle.std() / middle.mean() < 0.01
    plain, _ = run({"nnum": 11, "flat_field": "none"}, raw=0.3 * white, white=white)
    assert plain[5 * 11 + 5].std() / plain[5 * 11 + 5].mean() > 0.15
    lit = [u * 11 + v for u, v in ((5, 5), (3, 4), (7, 7))]
    equal, _ = run({"nnum": 11, "flat_field": "views"}, raw=0.3 * white, white=white)
    assert np.ptp([equal[n].mean() for n in lit]) < 0.03 * equal[lit[0]].mean()


def test_dark_views_of_a_white_picture_do_not_amplify() -> None:
    white = np.array([[[100.0, 80.0]], [[0.0, 0.01]]])
    assert flat_field(white, "views").max() < 30


@pytest.mark.parametrize("scanning", [3, 5])
def test_paths_visit_every_cell_once(scanning: int) -> None:
    for cells in usual_orders(scanning):
        assert sorted(cells) == list(range(scanning**2))
    assert cells_of("spiral", 3) == (6, 7, 8, 5, 2, 1, 0, 3, 4)
    assert cells_of("raster-columns", 3) == (0, 3, 6, 1, 4, 7, 2, 5, 8)
    assert cells_of("6,7,8,5,2,1,0,3,4", 3) == cells_of("spiral", 3)


def test_interleaving_puts_positions_side_by_side() -> None:
    frames = np.arange(9.0)[:, None, None, None] * np.ones((1, 1, 2, 2))
    whole = interleaved(frames, cells_of("snake", 3), 3)
    np.testing.assert_array_equal(whole[0, :3, :3], [[0, 1, 2], [5, 4, 3], [6, 7, 8]])
    np.testing.assert_array_equal(whole[0, 3:, 3:], whole[0, :3, :3])


@pytest.mark.parametrize("order", ["raster", "snake-up", "spiral", "raster-columns-left"])
def test_the_order_of_a_scan_is_found(order: str) -> None:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:36, :36]
    scene = 100 + 60 * np.sin(y / 4.1) * np.cos(x / 3.3) + 40 * np.exp(-((y - 20) ** 2 + (x - 11) ** 2) / 30)
    frames = np.stack([scene[c // 3 :: 3, c % 3 :: 3] for c in cells_of(order, 3)])[:, None]
    judged = Continuity(rng.poisson(frames).astype(float)).judged("raster")
    assert cells_of(judged.best, 3) == cells_of(order, 3)
    assert judged.wrong == (order != "raster")


def test_a_wrong_scan_order_is_said_with_the_right_one() -> None:
    grid = LensletGrid(7.13, 0.8, (31.0, 36.5))
    frames = np.rint(1000 * scanned((58, 66), grid, "snake-up"))
    params = {"nnum": 7, "scanning": 3, "pitch_px": 7.13}
    right, events = run(params, raw=frames)
    assert decided(events)["scan_order"] == "snake-up" and "scan_order" not in said(events)
    _, events = run(params | {"scan_order": "raster"}, raw=frames)
    assert "set scan_order=snake-up" in said(events)
    again, _ = run(params | {"scan_order": "snake-up"}, raw=frames)
    np.testing.assert_array_equal(right, again)


def test_what_was_decided_repeats_the_run() -> None:
    picture = lenslet_picture((120, 131), GRID, [Ball((2.0, 0.0, 0.0), 3.0)], 0.2)
    first, events = run({"nnum": 11}, raw=picture)
    again, after = run({"nnum": 11} | decided(events), raw=picture)
    np.testing.assert_allclose(again, first, rtol=1e-6)
    assert not decided(after)
    report = next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "report")
    assert report["pitch_px"] == decided(events)["pitch_px"]


def test_voxels_follow_from_the_optics() -> None:
    raw = ImageStack.of(lenslet_picture((120, 131), GRID, [], 1.0), "YX", "raw")
    optics = {"nnum": 11, "pitch_um": 100.0, "camera_pixel_um": 100 / 11.37, "magnification": 40.0, "scanning": 1}
    views, events = run(optics, raw=raw)
    grid = next(e for e in events if isinstance(e, OutputOpened)).spec.grid
    assert grid.shape == views.shape == (121, 10, 11)
    assert grid.step("X") == pytest.approx(2.5) and grid.unit("Y") == "micrometer"
    assert np.isfinite(views).all()


def test_pages_become_positions_and_time_points() -> None:
    grid = ImageStack.of(np.zeros((18, 6, 7)), "TYX", scale={"T": 0.1}, units={"T": "second"}).grid
    found = positions_of(grid, 3)
    assert found.grid.axes == "TNYX" and found.grid.shape == (2, 9, 6, 7)
    assert found.grid.step("T") == pytest.approx(0.9) and found.grid.unit("T") == "second"
    np.testing.assert_array_equal(found.pages[1], np.arange(9, 18))
    assert positions_of(ImageStack.of(np.zeros((6, 7)), "YX").grid, 1).grid.axes == "NYX"
    two = positions_of(ImageStack.of(np.zeros((9, 2, 6, 7)), "TCYX").grid, 3)
    assert two.grid.axes == "CNYX" and two.pages[1, 3] == 7


@pytest.mark.parametrize(
    ("params", "frames", "sentence"),
    [
        ({"nnum": 12}, 1, r"odd.*set nnum=13"),
        ({"nnum": 7}, 1, r"lenslets of 11\.3\d* pixels, but nnum means 7; set nnum=11, pitch_px=11\.3"),
        ({"nnum": 11, "pitch_px": 12.0}, 1, r"but pitch_px means 12; set pitch_px=11\.3"),
        ({"nnum": 11, "scanning": 3}, 8, r"multiple of 9 frames, found 8 .*; set scanning=1"),
        ({"nnum": 11, "scanning": 3}, 25, r"found 25 .*; set scanning=5"),
        ({"nnum": 11, "scanning": 3, "scan_order": "zigzag"}, 9, r"scan_order should be auto, raster, snake, spiral"),
        ({"nnum": 11, "scanning": 3, "scan_order": "0,1,2"}, 9, r"each of the cells 0 to 8 once"),
        ({"nnum": 63}, 1, r"at least 5 x 5 lenslets of 63 pixels"),
    ],
)
def test_unfit_parameters_are_one_sentence(params: dict, frames: int, sentence: str) -> None:
    picture = lenslet_picture((120, 131), GRID, [], 1.0, samples=1)
    with pytest.raises(InputError, match=sentence):
        run(params, raw=picture if frames == 1 else np.stack([picture] * frames))


def test_a_picture_that_the_edge_cuts_is_said() -> None:
    picture = lenslet_picture((120, 131), GRID, [], 1.0, samples=1)
    _, events = run({"nnum": 11, "lenslets": (12, 12)}, raw=picture)
    assert "cut by the picture's edge" in said(events)


def test_dark_and_white_that_do_not_belong_are_said() -> None:
    picture = 100 + 200 * lenslet_picture((120, 131), GRID, [], 1.0, samples=1)
    dark = np.random.default_rng(5).normal(100, 1, picture.shape)
    views, events = run({"nnum": 11}, raw=picture, dark=dark)
    assert "dark" not in said(events) and abs(views.min()) < 10
    _, events = run({"nnum": 11}, raw=picture - 100, dark=dark)
    assert "taken off already" in said(events)
    with pytest.raises(InputError, match="exchange them"):
        run({"nnum": 11}, raw=picture, white=dark - 50, dark=dark)
    with pytest.raises(InputError, match="120 x 131 pixels of the raw one"):
        run({"nnum": 11}, raw=picture, white=picture[:-2])
    moved = LensletGrid(GRID.pitch_px, GRID.rotation_deg, (GRID.centre[0] + 2, GRID.centre[1]))
    white = 1000 * lenslet_picture((120, 131), moved, [], 1.0, samples=1)
    _, events = run({"nnum": 11}, raw=picture, white=white)
    assert "beside those of the white one" in said(events)
