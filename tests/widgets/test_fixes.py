from __future__ import annotations

from typing import Any

import pytest
from napari.components import ViewerModel

from napari_recon.core.errors import InputError
from napari_recon.widgets.fixes import fix_label, fixes_in
from tests.widgets.conftest import FakeDock, planned, recording

NAMES = {"angles", "phases", "wavelength_um", "frame_order", "na"}


@pytest.mark.parametrize(
    ("sentence", "fixes"),
    [
        ("found 2 angles and 5 phases, but angles=3 is set; set angles=2, phases=5", {"angles": 2, "phases": 5}),
        ("found 525, which looks like nanometers; set wavelength_um=0.525", {"wavelength_um": 0.525}),
        ("pattern not found; try frame_order=pa.", {"frame_order": "pa"}),
        ("na is needed; set it, for example na=1.4", {}),
        ("na=1.6 is too large", {}),
        ("found x; set colour=red", {}),
    ],
)
def test_remedies_of_sentences_are_settings_and_examples_are_none(sentence: str, fixes: dict[str, Any]) -> None:
    assert fixes_in(sentence, NAMES) == fixes


def test_label_reads_like_a_sentence() -> None:
    assert fix_label({"frame_order": "pa"}) == "Set frame order to pa"
    assert fix_label({"wavelength_um": 0.525}) == "Set wavelength to 0.525"


def test_button_under_an_error_makes_the_change(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    planned(dock, qtbot)
    dock.planner.failed.emit(InputError("planes should be 3, found 2; set planes=5"))
    button = dock.run_bar.offer_button
    assert button.isVisible() and button.text() == "Set planes to 5"
    button.click()
    assert dock.settings.values()["planes"] == 5 and not button.isVisible()
    planned(dock, qtbot)
    assert dock.run_bar.run_button.isEnabled()
