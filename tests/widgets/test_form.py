from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, model_validator
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent, QWheelEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_recon.core.grid import Frozen
from napari_recon.core.params import EngineParams, param
from napari_recon.engines import registry
from napari_recon.engines.sim.params import OpticsParams
from napari_recon.widgets.form import ParamsForm, readable
from tests.viewer.fake import FakeParams


class Window(Enum):
    HANN = "hann"
    FLAT = "flat"


class Noise(Frozen):
    sigma: float = param(1.5, "Standard deviation.", unit="counts", ge=0)
    model: Literal["poisson", "gauss"] = param("poisson", "Which noise.")


class Everything(EngineParams):
    rate: float = param(1e-5, "Learning rate.", gt=0)
    count: int = param(123456789, "How many.", unit="photons", ge=1)
    flag: bool = param(True, "Yes or no.")
    mode: Literal["none", "upstream"] = param("none", "Whose way.")
    power: Literal[1, 2, 4] = param(2, "A choice of numbers.")
    steps: Annotated[int, Field(ge=1)] | Literal["auto"] = param("auto", "Steps.")
    start: float | None = param(None, "Start.", unit="um")
    fast: bool | Literal["auto"] = param("auto", "Fast.")
    both: int | float = param(1, "Either.")
    several: float | Literal["auto", "none"] = param("none", "Two keywords.")
    psf: str | None = param(None, "PSF file.", file=(".pt", ".tif"))
    folder: Path | None = param(None, "A folder.")
    title: str = param("", "Text.")
    window: Window = param(Window.HANN, "Window.")
    sizes: tuple[int, ...] = param((1, 2), "Sizes.", advanced=True)
    names: list[str] | None = param(None, "Names.", advanced=True)
    table: dict[str, float] = param({}, "Table.", advanced=True)
    noise: Noise = param(Noise(sigma=2.5), "Noise settings.")


finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12)
everything = st.fixed_dictionaries(
    {
        "rate": st.floats(min_value=1e-300, allow_infinity=False),
        "count": st.integers(1, 10**15),
        "flag": st.booleans(),
        "mode": st.sampled_from(["none", "upstream"]),
        "power": st.sampled_from([1, 2, 4]),
        "steps": st.integers(1, 10**12) | st.just("auto"),
        "start": finite | st.none(),
        "fast": st.booleans() | st.just("auto"),
        "both": st.integers(-(10**12), 10**12) | finite,
        "several": finite | st.sampled_from(["auto", "none"]),
        "psf": st.none() | texts.filter(bool),
        "folder": st.none() | texts.filter(bool).map(lambda t: str(Path(t))),
        "title": texts,
        "window": st.sampled_from(["hann", "flat"]),
        "sizes": st.lists(st.integers(-(10**12), 10**12), max_size=4),
        "names": st.none() | st.lists(texts, max_size=3),
        "table": st.dictionaries(texts, finite, max_size=3),
        "noise": st.fixed_dictionaries({"sigma": st.floats(0, 1e9), "model": st.sampled_from(["poisson", "gauss"])}),
    }
)


def edited(form: ParamsForm, name: str, text: str) -> None:
    box = form.fields[name].inputs()[-1] if name != "psf" else form.fields[name].inputs()[0]
    line = box.lineEdit() if hasattr(box, "lineEdit") else box
    line.setText(text)
    line.textEdited.emit(text)


@pytest.mark.parametrize("name", registry.names())
def test_defaults_of_every_engine_survive_the_form(qtbot: Any, name: str) -> None:
    pytest.importorskip(registry._targets.get(name, "").partition(":")[0], reason="engine not there")
    model = registry.get(name).Params
    form = ParamsForm(model)
    qtbot.addWidget(form)
    assert form.problems() == {}
    assert model.model_validate(form.values()) == model()
    assert form.values() == model().model_dump(mode="json")


@pytest.fixture
def form(qtbot: Any) -> ParamsForm:
    form = ParamsForm(Everything)
    qtbot.addWidget(form)
    return form


# One form for all examples: what the previous example left in it must not matter either.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=everything)
def test_any_value_survives_the_form(form: ParamsForm, values: dict[str, Any]) -> None:
    expected = Everything.model_validate(values)
    form.set_values(expected.model_dump(mode="json"))
    assert form.problems() == {}
    found = Everything.model_validate(form.values())
    assert found == expected
    assert found.model_dump_json() == expected.model_dump_json()  # types too: 1 is not 1.0


def test_wrong_value_is_coloured_and_explained_then_cleared(form: ParamsForm) -> None:
    edited(form, "count", "0")
    box = form.fields["count"].inputs()[0]
    assert "count" in form.problems() and "border" in box.styleSheet()
    assert ">= 1 photons" in box.toolTip() and "found 0" in box.toolTip()
    edited(form, "count", "many")
    assert "found 'many'" in form.problems()["count"]
    edited(form, "count", "7")
    assert form.problems() == {} and "border" not in box.styleSheet()


def test_nested_and_keyword_problems_are_found_by_name(form: ParamsForm) -> None:
    form.set_values({"noise": {"sigma": -1}, "steps": 0})
    assert set(form.problems()) == {"noise.sigma", "steps"}


def test_model_wide_problem_has_the_empty_name(qtbot: Any) -> None:
    class Pair(EngineParams):
        low: int = param(0, "Low.")
        high: int = param(1, "High.")

        @model_validator(mode="after")
        def _order(self) -> Pair:
            if self.low >= self.high:
                raise ValueError("low should be below high; swap them")
            return self

    form = ParamsForm(Pair)
    qtbot.addWidget(form)
    form.set_values({"low": 5})
    assert form.problems() == {"": "low should be below high; swap them"}


def test_changed_fires_for_people_not_for_programs(qtbot: Any, form: ParamsForm) -> None:
    with qtbot.assertNotEmitted(form.changed):
        form.set_values({"count": 3, "flag": False, "steps": 4, "mode": "upstream"})
    with qtbot.waitSignal(form.changed):
        edited(form, "count", "4")
    with qtbot.waitSignal(form.changed):
        form.fields["flag"].inputs()[0].click()
    with qtbot.waitSignal(form.changed):
        form.fields["steps"].inputs()[0].click()


def test_auto_check_box_disables_its_box_and_keeps_the_number(form: ParamsForm) -> None:
    check, box = form.fields["steps"].inputs()
    assert check.isChecked() and not box.isEnabled()
    check.click()
    edited(form, "steps", "17")
    assert form.values()["steps"] == 17
    check.click()
    assert form.values()["steps"] == "auto"
    check.click()
    assert form.values()["steps"] == 17


def test_reset_one_and_all(form: ParamsForm) -> None:
    form.set_values({"count": 5, "noise": {"sigma": 9.0}})
    button = form._resets["count"]
    assert not button.isHidden() and form._resets["rate"].isHidden()
    button.click()
    assert form.values()["count"] == 123456789 and button.isHidden()
    form.reset()
    assert Everything.model_validate(form.values()) == Everything()


def test_advanced_is_folded_and_out_of_the_tab_order(form: ParamsForm) -> None:
    form.show()
    assert form.advanced is not None and not form.fields["sizes"].isVisible()
    form.advanced.button.click()
    assert form.fields["sizes"].isVisible() and form.fields["rate"].isVisible()


def test_stepping_keeps_the_scale_of_small_floats_and_obeys_bounds(form: ParamsForm) -> None:
    form.fields["rate"].inputs()[0].stepBy(1)
    assert form.values()["rate"] == 1.1e-5
    form.set_values({"count": 1})
    form.fields["count"].inputs()[0].stepBy(-5)
    assert form.values()["count"] == 1


def wheel(widget: QWidget) -> None:
    event = QWheelEvent(
        QPointF(5, 5),
        QPointF(widget.mapToGlobal(QPoint(5, 5))),
        QPoint(0, 120),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


def test_wheel_over_unfocused_boxes_changes_nothing(form: ParamsForm) -> None:
    form.show()
    for name in ("count", "mode"):
        box = form.fields[name].inputs()[0]
        box.clearFocus()
        wheel(box)
    assert form.values()["count"] == 123456789 and form.values()["mode"] == "none"


def test_dropped_file_becomes_the_value(qtbot: Any, form: ParamsForm, tmp_path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "psf.pt"))])
    event = QDropEvent(
        QPointF(2, 2), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    with qtbot.waitSignal(form.changed):
        form.fields["psf"].dropEvent(event)
    assert form.values()["psf"] == str(tmp_path / "psf.pt")


def test_every_input_has_an_accessible_name_and_a_tooltip(form: ParamsForm) -> None:
    for field in form.fields.values():
        for widget in field.inputs():
            assert widget.accessibleName() and widget.toolTip()


def test_rows_taken_elsewhere_stay_part_of_the_form(qtbot: Any) -> None:
    form = ParamsForm(OpticsParams)
    qtbot.addWidget(form)
    taken = form.take(("na", "angles", "unknown"))
    qtbot.addWidget(taken)
    assert taken.isAncestorOf(form.fields["na"]) and taken.isAncestorOf(form.fields["angles"])
    assert form.isAncestorOf(form.fields["phases"])
    changes: list[bool] = []
    form.changed.connect(lambda: changes.append(True))
    box = form.fields["angles"].inputs()[0]
    box.set_value(9)
    box.edited.emit()
    assert changes and form.values()["angles"] == 9 and "angles" in form.problems()
    form.reset()
    assert form.values()["angles"] == 3


def test_what_automatic_parameters_stand_for_is_shown_but_not_chosen(qtbot: Any) -> None:
    form = ParamsForm(OpticsParams)
    qtbot.addWidget(form)
    form.show_automatic({"na": 1.123456, "angles": 4, "wavelength_um": None})
    assert form.fields["na"].inner.value() == 1.123 and form.values()["na"] == "auto"  # type: ignore[attr-defined]
    assert form.values()["angles"] == 3 and form.fields["wavelength_um"].inner.value() == ""  # type: ignore[attr-defined]
    form.set_values({"na": 1.4})
    form.show_automatic({"na": 1.1})
    assert form.values()["na"] == 1.4


def test_rows_that_do_not_matter_are_hidden_and_keep_their_values(qtbot: Any) -> None:
    form = ParamsForm(FakeParams)
    qtbot.addWidget(form)
    form.show()
    form.set_values({"delay": 2.0})
    form.show_only({"planes", "delay"})
    assert form.fields["delay"].isVisible() and not form.fields["deaf"].isVisible()
    assert form._resets["delay"].isVisible() and not form._resets["planes"].isVisible()
    form.set_values({"deaf": True})
    assert not form._resets["deaf"].isVisible() and form.values()["deaf"] is True
    form.show_only(set(form.fields))
    assert form.fields["deaf"].isVisible() and form._resets["deaf"].isVisible() and not form._resets["planes"].isVisible()


def test_names_are_written_as_people_write_them() -> None:
    assert [readable(name) for name in ("na", "leds", "led_distance", "depth_from_um")] == [
        "NA",
        "LEDs",
        "LED distance",
        "Depth from",
    ]
