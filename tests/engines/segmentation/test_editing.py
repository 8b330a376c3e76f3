"""Nuclei that change after a run: near them and as a whole, decisions by hand, micro-sam, and embryos that are hard."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack
from napari_recon.engines.segmentation.editing import Change, Editing
from napari_recon.engines.segmentation.seeded import SeededParams, numbered
from napari_recon.engines.segmentation.seeds import Nucleus, mother_between, nuclei_by_time
from napari_recon.jobs import make_plan
from napari_recon.samples.embryo import Embryo, Look, anatomy, draw

from .cells import dice
from .test_seeded import segmented

SMALL = (56, 80, 104)


def hard(seed: int, count: int, look: Look, dividing: tuple[str, ...] = ()) -> Embryo:
    rng = np.random.default_rng(seed)
    return draw(anatomy(rng, count, SMALL), 12, rng, look, dividing)


@pytest.fixture(scope="module")
def drawn() -> Embryo:
    return hard(1, 12, Look(blur=(3.0, 1.0, 1.0)), ("N3",))


def editing(drawn: Embryo, quick_s: float, **params: Any) -> tuple[Editing, dict[int, list[Nucleus]], np.ndarray]:
    stack = ImageStack.of(drawn.stack, "ZYX", "membranes")
    plan, _ = make_plan(
        "segmentation.seeded", {"stack": [stack], "seeds": [drawn.rows]}, {"iso_shape": (28, 40, 52), **params}
    )
    nuclei = {0: nuclei_by_time(drawn.rows)[1]}
    found = Editing(plan, stack, {}, numbered(nuclei), quick_s)
    labels = np.zeros(drawn.stack.shape, np.int32)
    (change,) = found.changes(nuclei, found.params)
    put(labels, change)
    assert not change.near
    return found, nuclei, labels


def put(labels: np.ndarray, change: Change) -> None:
    labels[change.place] = change.labels


def moved(cell: Nucleus, *by: float) -> Nucleus:
    z, y, x = (p + d for p, d in zip(cell.zyx, by, strict=True))
    return cell._replace(zyx=(z, y, x))


@pytest.mark.parametrize("what", ["move", "add", "remove"])
def test_an_edit_near_its_nucleus_is_what_the_whole_would_be(drawn: Embryo, what: str) -> None:
    results = []
    for quick_s in (1e9, 0.0):
        live, nuclei, labels = editing(drawn, quick_s)
        before = labels.copy()
        cells = nuclei[0]
        other = {
            "move": [moved(cells[0], 0.4, 3, -2), *cells[1:]],
            "add": [*cells, moved(cells[5], 0.5, 6, 6)._replace(name="new")],
            "remove": cells[:7] + cells[8:],
        }[what]
        (change,) = live.changes({0: other}, live.params)
        put(labels, change)
        assert change.near == (quick_s == 0.0)
        assert (labels != before).any()
        assert {row["name"] for row in change.rows} <= {c.name for c in other} | {"N3"}
        if change.near:
            assert change.labels.size < labels.size, "less than the whole"
        results.append(labels)
        assert not list(live.changes({0: other}, live.params)), "the same nuclei change nothing"
    # where a cell was taken away, its neighbours share the room in more than one sensible way
    assert (results[0] == results[1]).mean() > (0.95 if what == "remove" else 0.985)


def test_names_keep_their_numbers_and_new_ones_get_new_ones(drawn: Embryo) -> None:
    live, nuclei, _ = editing(drawn, 1e9)
    before = dict(live.numbers)
    added = [*nuclei[0][1:], moved(nuclei[0][0], 0, 1, 1)._replace(name="new")]
    (change,) = live.changes({0: added}, live.params)
    assert live.numbers.items() >= before.items() and live.numbers["new"] == max(before.values()) + 1
    assert {row["name"]: row["label"] for row in change.rows}["new"] == live.numbers["new"]


def test_nuclei_outside_are_told_and_change_nothing(drawn: Embryo) -> None:
    live, nuclei, _ = editing(drawn, 1e9)
    far = [nuclei[0][0]._replace(zyx=(0.0, 999.0, 3.0)), *nuclei[0][1:]]
    with pytest.raises(InputError, match="found 1 outside, the first is"):
        list(live.changes({0: far}, live.params))
    assert not list(live.changes(nuclei, live.params))


def test_a_hand_decides_about_divisions(drawn: Embryo) -> None:
    live, nuclei, _ = editing(drawn, 1e9)
    (change,) = live.changes(nuclei, live.params.model_copy(update={"apart": ("N3:0",)}))
    names = {row["name"] for row in change.rows}
    (said,) = [s for s in change.sisters if s["mother"] == "N3"]
    assert {"N3a", "N3p"} <= names and said["by"] == "hand" and not said["one_cell"]
    (change,) = live.changes(nuclei, live.params.model_copy(update={"apart": (), "together": ("N3",)}))
    assert "N3" in {row["name"] for row in change.rows}


def test_a_single_name_is_a_list() -> None:
    assert SeededParams(apart="C").apart == ("C",) and SeededParams(together="C:1, E").together == ("C:1", "E")


def test_a_table_may_name_mothers() -> None:
    rows = [
        {"cell": n, "z": 1, "y": 1, "x": i, "mother": m} for i, (n, m) in enumerate([("u", "A"), ("v", "A"), ("w", "B")])
    ]
    u, v, w = nuclei_by_time(rows)[1]
    assert mother_between(u, v) == "A" and mother_between(u, w) is None
    assert mother_between(Nucleus("Ca", (0, 0, 0), "A"), Nucleus("Cp", (0, 0, 0))) is None
    with pytest.raises(InputError, match="finite numbers"):
        nuclei_by_time([{"cell": "u", "z": float("nan"), "y": 1, "x": 1}])


@pytest.mark.parametrize(
    "look", [Look(gaps=0.12, photons=40.0), Look(photons=15.0, noise=1.5), Look(strength=(0.3, 1.4), deepest=0.35)]
)
def test_hard_embryos(look: Look) -> None:
    """Holes in membranes, little light, dim membranes in depth; the outermost membrane with holes is the hardest."""
    rng = np.random.default_rng(5)
    found = draw(anatomy(rng, 12, (84, 120, 160)), 18, rng, look)
    labels, names, _ = segmented(found, iso_shape=(42, 60, 80))
    overlaps = [dice(labels, found.isotropic, names[name], number) for name, number in found.names.items()]
    assert np.mean(overlaps) > 0.93 and min(overlaps) > 0.85


def test_micro_sam_when_it_is_not_there(drawn: Embryo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_recon.engines.segmentation.seeded.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package micro_sam, found none; install it .* set method=watershed"):
        editing(drawn, 1e9, method="micro_sam")


def test_micro_sam_draws_the_outlines_where_it_is_installed(drawn: Embryo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that answers every box with its ellipse."""
    asked: list[tuple[int, ...]] = []

    def segment_from_box(predictor: Any, box: np.ndarray, image_embeddings: Any = None) -> np.ndarray:
        y0, x0, y1, x1 = box
        asked.append(tuple(box))
        y, x = np.ogrid[: image_embeddings.shape[0], : image_embeddings.shape[1]]
        rounds = ((y - (y0 + y1 - 1) / 2) / (y1 - y0) * 3) ** 2 + ((x - (x0 + x1 - 1) / 2) / (x1 - x0) * 3) ** 2
        return (rounds < 1)[None]

    package = ModuleType("micro_sam")
    package.util = SimpleNamespace(
        get_sam_model=lambda: "predictor", precompute_image_embeddings=lambda p, image, ndim: image
    )
    package.prompt_based_segmentation = SimpleNamespace(segment_from_box=segment_from_box)
    monkeypatch.setitem(sys.modules, "micro_sam", package)
    with pytest.raises(InputError, match="set grid=stack"):
        segmented(drawn, method="micro_sam", iso_shape=(28, 40, 52))
    plain, names, _ = segmented(drawn, iso_shape=(28, 40, 52), grid="stack")
    labels, again, _ = segmented(drawn, method="micro_sam", iso_shape=(28, 40, 52), grid="stack")
    assert asked and set(again) <= set(names) and (labels != plain).any()
    inside = labels > 0
    assert (plain[inside] == labels[inside]).mean() > 0.6
