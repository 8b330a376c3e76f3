from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qtpy.QtCore import QPointF

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.engines.lightfield_inr.fit_params import FitParams
from napari_recon.engines.lightfield_inr.params import QueryParams
from napari_recon.engines.lightfield_inr.place import lattice_grid, time_grid
from napari_recon.viewer.light_field_views import MOST_PICTURES, look_at_psf, mismatch, reduced, view_pictures
from napari_recon.widgets.fit_rows import LAMPS, RAYS, VIEWS, query_rows, unused
from napari_recon.widgets.montage import Montage
from napari_recon.widgets.verdict import VerdictPanel, remedy_of

GREEN = {"verdict": "the model explains the data", "reduced_deviance": 1.02}
AMBER = {"verdict": "PSF or positions look wrong: what is left is no noise; try refine_views, or another PSF"}
GAIN = {"verdict": "the reduced deviance stays at 2 where about 1 is expected; divide by the gain"}


def test_of_a_sequence_the_light_is_amber_as_soon_as_one_time_point_is(qtbot: Any) -> None:
    panel = VerdictPanel()
    qtbot.addWidget(panel)
    panel.add({**GREEN, "frame": 0}, {"refine_views": False})
    assert panel.line.property("level") == "good" and panel.button.isHidden() and "1.02" in panel.line.text()
    panel.add({**GREEN, "frame": 1}, {"refine_views": False})
    assert "at all 2 time points" in panel.line.text()
    panel.add({**AMBER, "frame": 2}, {"refine_views": False})
    assert panel.line.property("level") == "warning" and "At 1 of 3 time points" in panel.line.text()
    with qtbot.waitSignal(panel.remedy) as asked:
        panel.button.click()
    assert asked.args == [{"refine_views": True}]
    panel.clear()
    assert panel.isHidden()


def test_a_sequence_that_ended_early_does_not_speak_for_all_of_it(qtbot: Any) -> None:
    panel = VerdictPanel()
    qtbot.addWidget(panel)
    panel.clear(4)
    for frame in range(3):
        panel.add({**GREEN, "frame": frame}, {})
    assert "at 3 of 4 time points" in panel.line.text()


def test_what_a_fit_warned_of_stays_in_sight_in_short(qtbot: Any) -> None:
    panel = VerdictPanel()
    qtbot.addWidget(panel)
    panel.add(GREEN, {})
    panel.note(("the PSF looks wider: so it was widened; set psf_width=1 to keep it", "a camera was blind; mend it"))
    assert panel.notes.text() == "⚠ The PSF looks wider\nA camera was blind" and not panel.notes.isHidden()
    assert "psf_width=1" in panel.notes.toolTip() and panel.line.property("level") == "good"
    panel.add(AMBER, {})
    panel.note((AMBER["verdict"],))
    assert panel.notes.isHidden()  # the verdict says it
    panel.clear()
    assert panel.notes.isHidden()


def test_a_psf_of_other_views_or_pixels_is_told_apart() -> None:
    def grid(count: int, step: float, unit: str = "micrometer") -> Grid:
        return Grid.of("VYX", (count, 5, 5), {"Y": step, "X": step}, units={"Y": unit, "X": unit})

    assert mismatch(grid(7, 0.5), grid(7, 0.505)) == "" == mismatch(grid(7, 1.0, "pixel"), grid(7, 0.5))
    assert "7 views, the data 5" in mismatch(grid(7, 0.5), grid(5, 0.5))
    assert "0.5 µm along y, the data 0.8 µm" in mismatch(grid(7, 0.5), grid(7, 0.8))


def test_remedies_are_those_not_tried_yet() -> None:
    assert remedy_of(AMBER["verdict"], {"refine_views": True}) == {}
    assert remedy_of(AMBER["verdict"], {"refine_views": True, "refine_psf": False}) == {"refine_psf": True}
    assert remedy_of(GAIN["verdict"], {"refine_views": False}) == {}
    assert remedy_of("residuals are alike; set penalty=0.1", {"penalty": 0.02}) == {"penalty": 0.1}


def test_only_the_settings_of_a_method_matter_to_it() -> None:
    fast, published = (unused(FitParams, method, VIEWS) for method in ("fast", "upstream"))
    assert {"preset", "upstream.block", "init"} <= fast and {"penalty", "refine_views"} <= published
    assert not {"iterations", "resume", "method"} & (fast | published)
    assert {"angles", "leds"} <= fast
    assert "angles" not in unused(FitParams, "fast", RAYS) and "leds" not in unused(FitParams, "fast", LAMPS)
    assert {"refine_views", "leds"} <= unused(FitParams, "fast", RAYS)
    assert {"refine_views", "angles"} <= unused(FitParams, "fast", LAMPS)
    assert query_rows(QueryParams, {"render_size": [1, 2, 3]}) == {"scale", "scaling", "slab"}
    assert "preset" in query_rows(QueryParams, {}) and "t_range" not in query_rows(QueryParams, {})


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 80), st.integers(60, 900))
def test_pictures_never_overlap_and_stay_inside(count: int, width: int) -> None:
    montage = MONTAGES.setdefault("one", Montage(choosable=True))
    montage.show_pictures(np.zeros((count, 4, 4), np.uint8))
    montage.resize(width, montage.heightForWidth(width))
    cells = [montage.cell(number) for number in range(count)]
    for number, cell in enumerate(cells):
        assert montage.at(cell.center()) == number
        assert cell.bottom() <= montage.heightForWidth(montage.width())
        assert cell.right() <= max(montage.width(), cell.width()) + 1
    assert montage.at(QPointF(-1, -1)) is None


MONTAGES: dict[str, Montage] = {}


@pytest.fixture(autouse=True)
def _application(qapp: Any) -> Any:
    yield
    MONTAGES.clear()


def test_thumbnails_of_views_share_one_contrast_and_survive_bad_pixels() -> None:
    views = np.zeros((2, 70, 200, 300), np.float32)
    views[:, 1] = 50
    views[1, 0, :, 150:] = 100
    views[1, 2, 0, 0] = np.nan
    small = view_pictures(ImageStack.of(views, "TVYX"), 1)
    assert small.shape[0] == MOST_PICTURES and max(small.shape[1:]) <= 96 and small.dtype == np.uint8
    assert small[0].max() == 255 and 100 < small[1].max() < 160
    assert not view_pictures(ImageStack.of(np.zeros((3, 5, 5), np.uint16), "VYX"), 4).any()


def test_reduction_keeps_the_brightest_point() -> None:
    planes = np.zeros((2, 101, 90), np.float32)
    planes[1, 77, 3] = 5
    assert reduced(planes, 20).shape == (2, 20, 20) and reduced(planes, 20)[1].max() == 5
    assert reduced(planes, 200).shape == planes.shape


def test_a_psf_is_looked_at_with_the_heights_of_its_planes() -> None:
    psf = np.zeros((2, 3, 7, 7), np.float32)
    psf[:, :, 3, 3] = 0.5
    grid = {"scale": {"Z": 2.0}, "translate": {"Z": -2.0}, "units": {"Z": "micrometer"}}
    look = look_at_psf(ImageStack.of(psf, "VZYX", **grid))
    assert look.heights == (-2.0, 0.0, 2.0) and look.unit == "µm" and not look.said and not look.error
    assert look.pictures.max() == 255
    with pytest.raises(InputError, match="cut it into views"):
        look_at_psf(ImageStack.of(psf[0], "ZYX"))


def test_a_lattice_lies_where_its_model_says_unless_its_voxels_are_others() -> None:
    options = {"voxel_um": [2.0, 0.5, 0.5], "origin_um": [-3.0, 1.0, 4.0], "frames": 3, "time": [0.1, 0.4, "second"]}
    assert lattice_grid(options, (3, 4, 5), (2.0, 0.5, 0.5)).translate == (-3.0, 1.0, 4.0)
    assert lattice_grid(options, (3, 4, 5), (1.0, 0.5, 0.5)).translate == (0.0, 0.0, 0.0)
    assert lattice_grid({}, (3, 4, 5), None).units == ("pixel",) * 3
    times = time_grid(options)
    assert times is not None and (times.shape, times.scale, times.translate) == ((3,), (0.1,), (0.4,))
    assert time_grid({}) is None
