"""The model menu: three origins, finding by part of an id, importing, removing, recognising once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from napari_recon import hub
from napari_recon.core.errors import CheckpointError, InputError
from tests.hub import recognisers


def ship(built_in, state, id="toy-9", **fields):
    from safetensors.torch import save_file

    save_file(dict(state), built_in / f"{id}.safetensors")
    card = hub.ModelCard(
        id=id,
        engine="toy.sharpen",
        architecture="toynet",
        file=f"{id}.safetensors",
        sha256=hub.sha256(built_in / f"{id}.safetensors"),
        **fields,
    )
    (built_in / f"{id}.json").write_text(card.to_json())
    return card


def downloadable(built_in, id="far-9"):
    card = hub.ModelCard(
        id=id, engine="toy.sharpen", architecture="toynet", url="https://example.org/w.pth", sha256="0" * 64
    )
    (built_in / f"{id}.json").write_text(card.to_json())


def test_an_empty_catalogue():
    assert hub.catalogue() == []
    with pytest.raises(InputError, match="models here: none"):
        hub.resolve("anything")


def test_three_origins_in_one_menu(built_in, state, checkpoint):
    ship(built_in, state)
    downloadable(built_in)
    imported = hub.import_model(checkpoint)
    cards = hub.catalogue()
    assert [(c.id, c.origin, c.available) for c in cards] == [
        ("toy-9", "built in", True),
        (imported.id, "imported", True),
        ("far-9", "downloadable", False),
    ]
    assert hub.catalogue("toy.other") == cards
    assert hub.catalogue("serenet.reconstruct") == []


def test_the_catalogue_and_planning_need_no_torch(built_in, state, checkpoint):
    ship(built_in, state)
    known = hub.resolve(checkpoint)
    code = (
        "import sys; from pathlib import Path; from napari_recon import hub; from napari_recon.hub import menu, recognise\n"
        "recognise.RECOGNISERS = ['tests.hub.recognisers:recognise']\n"
        f"menu.BUILT_IN = Path({str(built_in)!r})\n"
        f"print(hub.resolve('toy-9').id, hub.resolve({str(checkpoint)!r}).id, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["toy-9", known.id, "False"]


def test_a_file_is_recognised_once(checkpoint):
    recognisers.calls.clear()
    first = hub.resolve(checkpoint)
    assert (first.engine, first.architecture, first.options) == ("toy.sharpen", "toynet", {"views": 9})
    assert first.path == str(checkpoint)
    moved = checkpoint.with_name("elsewhere.pth")
    shutil.copy(checkpoint, moved)
    second = hub.resolve(moved)
    assert len(recognisers.calls) == 1
    assert second.path == str(moved)
    assert second.id == first.id


def test_a_changed_file_is_recognised_anew(checkpoint, state):
    import torch

    first = hub.resolve(checkpoint)
    torch.save({"body.weight": torch.zeros(4, 5, 3, 3), "body.bias": torch.zeros(4)}, checkpoint)
    second = hub.resolve(checkpoint)
    assert (first.options["views"], second.options["views"]) == (9, 5)
    assert first.sha256 != second.sha256
    with pytest.raises(CheckpointError, match="other content"):
        hub.load_state(first)


@pytest.mark.parametrize("part", ["toy-9-big", "toy-9-b", "big"])
def test_a_unique_part_of_an_id_is_enough(built_in, state, part):
    ship(built_in, state, "toy-9-big")
    ship(built_in, state, "toy-9-small")
    assert hub.resolve(part).id == "toy-9-big"


def test_ambiguous_and_unknown_ids_list_what_there_is(built_in, state):
    ship(built_in, state, "toy-9-big")
    ship(built_in, state, "toy-9-small")
    with pytest.raises(InputError, match=r"several: toy-9-big, toy-9-small"):
        hub.resolve("toy")
    with pytest.raises(InputError, match=r"no model 'nothing'.*toy-9-big, toy-9-small"):
        hub.resolve("nothing")


def test_an_id_that_begins_another_is_itself(built_in, state):
    ship(built_in, state, "toy")
    ship(built_in, state, "toy-9")
    assert hub.resolve("toy").id == "toy"


def test_models_of_another_engine_are_refused(checkpoint):
    with pytest.raises(CheckpointError, match=r"serenet\.reconstruct.*toynet network of toy\.sharpen"):
        hub.resolve(checkpoint, "serenet.reconstruct")
    assert hub.resolve(checkpoint, "toy.sharpen").architecture == "toynet"


def test_import_copies_and_resolves_without_the_original(checkpoint, state):
    import torch

    card = hub.import_model(checkpoint, "mine")
    assert card.inferred == ("9 views, from body.weight",)
    checkpoint.unlink()
    ref = hub.resolve("mine")
    torch.testing.assert_close(hub.load_state(ref)["body.bias"], state["body.bias"])
    assert ref.card["contract"] == {"views": 9}
    stored = json.loads((hub.cache_folder() / "models" / "mine" / "card.json").read_text())
    assert "path" not in stored


def test_importing_twice_is_one_model_and_ids_are_not_stolen(checkpoint, tmp_path):
    import torch

    assert hub.import_model(checkpoint, "mine") == hub.import_model(checkpoint, "mine")
    other = tmp_path / "other.pth"
    torch.save({"body.weight": torch.zeros(4, 5, 3, 3), "body.bias": torch.zeros(4)}, other)
    with pytest.raises(InputError, match="belongs to another model"):
        hub.import_model(other, "mine")
    for bad in ("../up", "", "a b", ".hidden"):
        with pytest.raises(InputError, match="model id"):
            hub.import_model(other, bad)
    assert [c.id for c in hub.catalogue()] == ["mine"]


def test_remove(checkpoint, built_in, state):
    ship(built_in, state)
    hub.import_model(checkpoint, "mine")
    with pytest.raises(InputError, match="built in"):
        hub.remove("toy-9")
    hub.remove("mine")
    assert [c.id for c in hub.catalogue()] == ["toy-9"]
    with pytest.raises(InputError, match="no model"):
        hub.remove("mine")


def test_a_damaged_stored_model_is_noticed(checkpoint):
    card = hub.import_model(checkpoint, "mine")
    with open(card.path, "ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="import it again"):
        hub.resolve("mine")


def test_unreadable_cards_are_left_out(checkpoint, caplog):
    hub.import_model(checkpoint, "mine")
    folder = hub.cache_folder() / "models" / "broken"
    folder.mkdir()
    (folder / "card.json").write_text("{")
    assert [c.id for c in hub.catalogue()] == ["mine"]
    assert "broken" in caplog.text


def test_not_downloaded_names_the_command(built_in):
    downloadable(built_in)
    with pytest.raises(InputError, match="models fetch far-9"):
        hub.resolve("far-9")


def test_a_path_that_is_not_there(tmp_path):
    for name in ("nothing.pth", str(tmp_path / "nothing")):
        with pytest.raises(CheckpointError, match="exists"):
            hub.resolve(name)


def test_a_folder_with_one_checkpoint_is_that_checkpoint(checkpoint, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    shutil.copy(checkpoint, folder)
    (folder / "README.md").write_text("about")
    assert hub.check(folder).fits and hub.resolve(folder) == hub.resolve(folder / checkpoint.name)
    assert hub.import_model(folder).id == hub.resolve(checkpoint).id
    shutil.copy(checkpoint, folder / "epoch-1600.pth")
    with pytest.raises(CheckpointError, match=r"one checkpoint, found: epoch-1600\.pth, epoch-800\.pth"):
        hub.resolve(folder)
    with pytest.raises(CheckpointError, match="one checkpoint, found: none"):
        hub.check(tmp_path / "built_in")


def test_a_file_keeps_its_own_path_when_its_model_was_imported(checkpoint):
    card = hub.import_model(checkpoint)
    found = hub.resolve(checkpoint)
    assert (found.id, found.path) == (card.id, str(checkpoint.resolve()))
    hub.remove(card.id)
    assert hub.resolve(found.path).sha256 == card.sha256


def test_check_reports_differences(tmp_path, state):
    import torch

    del state["body.bias"]
    state["head.weight"] = torch.zeros(1)
    state["body.weight"] = torch.zeros(5, 9, 3, 3)
    torch.save(state, tmp_path / "a.pth")
    report = hub.check(tmp_path / "a.pth")
    assert not report.fits
    assert report.architecture == "toynet"
    assert report.problems == (
        "missing: body.bias",
        "not expected: head.weight",
        "wrong shape: body.weight is (5, 9, 3, 3) instead of (4, 9, 3, 3)",
    )
    for use in (hub.resolve, hub.import_model):
        with pytest.raises(CheckpointError, match=r"nearest: toynet.*missing: body\.bias"):
            use(tmp_path / "a.pth")


def test_check_of_an_unknown_network(tmp_path):
    import torch

    torch.save({"encoder.0.weight": torch.zeros(2, 2)}, tmp_path / "a.pth")
    report = hub.check(tmp_path / "a.pth")
    assert not report.fits
    assert "encoder.0.weight (2, 2)" in report.problems[0]
    assert set(report.model_dump()) == {"fits", "engine", "architecture", "options", "inferred", "problems"}


def _own(tmp_path, card, shapes=((3, 3),)):
    import numpy as np
    from safetensors.numpy import save_file

    path = tmp_path / "field.safetensors"
    tensors = {f"w{n}": np.zeros(shape, np.float32) for n, shape in enumerate(shapes)}
    save_file(tensors, str(path), metadata={"card": card if isinstance(card, str) else json.dumps(card)})
    return path


def test_a_model_that_a_run_trained_brings_its_card(tmp_path):
    card = {
        "engine": "toy.fit",
        "architecture": "field",
        "options": {"frames": 7},
        "contract": {"pixel": 0.1},
        "title": "Eye",
    }
    path = _own(tmp_path, card)
    ref = hub.resolve(path, engine="toy.query")
    assert (ref.engine, ref.architecture, ref.options) == ("toy.fit", "field", {"frames": 7})
    assert ref.card["contract"] == {"pixel": 0.1} and ref.card["title"] == "Eye"
    assert hub.check(path).fits and "card" in hub.check(path).inferred[0]
    with pytest.raises(CheckpointError, match=r"toy\.fit"):
        hub.resolve(path, engine="other.query")


@pytest.mark.parametrize("card", ["{", "[]", {"engine": "toy.fit"}, {"engine": 1, "architecture": "a"}])
def test_a_card_that_says_too_little_is_no_card(tmp_path, card):
    assert not hub.check(_own(tmp_path, card)).fits
