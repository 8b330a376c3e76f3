"""Frames are made as they land; half files wait; the result is that of a single run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

import napari_recon
from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack, write_stack
from napari_recon.jobs.batch import watch
from napari_recon.jobs.batch.run import BatchFinished, ItemChanged, prepare_batch
from napari_recon.jobs.batch.watch import Patience, watch_batch

from .conftest import SHAPE

PATIENCE = Patience(settle=0.05, complete=1.5, idle=4.0)
PARAMS = {"preset": "SKL", "camera_offset": 5.0}
MOVIE = np.random.default_rng(4).integers(100, 400, SHAPE).astype(np.uint16)


def _add(folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_stack(folder / f"t{number}.tif", ImageStack.of(MOVIE[number], "ZYX"))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.05)


def test_a_growing_folder_is_followed_newest_first(recipe: Path, tmp_path: Path) -> None:
    raw, out, made = tmp_path / "raw", tmp_path / "out", []
    raw.mkdir()
    prepared = prepare_batch(recipe, raw, out, each="folder", may_be_empty=True)
    _add(raw / "cells", 0)
    _add(raw / "cells", 1)
    end = None
    for event in watch_batch(prepared, patience=PATIENCE):
        if isinstance(event, BatchFinished):
            end = event
        elif event.state == "running":
            made.append(event.message)
            if len(made) == 1:  # a camera goes on while we compute; its last file is not whole yet
                _add(raw / "cells", 2)
                whole = (raw / "cells" / "t2.tif").read_bytes()
                (raw / "cells" / "t2.tif").write_bytes(whole[: len(whole) // 2])
            if len(made) == 2:
                (raw / "cells" / "t2.tif").write_bytes(whole)
                _add(raw / "cells", 3)
    assert made[0] == "frame 2" and sorted(made) == [f"frame {n}" for n in (1, 2, 3, 4)]
    assert end is not None and not end.cancelled and [o.state for o in end.outcomes.values()] == ["done"]
    alone = napari_recon.run("fusion.background", raw / "cells", params=PARAMS)["clean"]
    np.testing.assert_array_equal(open_stack(out / "cells.ome.zarr").data, alone)


def test_a_growing_store_is_followed_and_a_watch_can_be_taken_up(recipe: Path, tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    path = write_stack(raw / "cells.ome.zarr", ImageStack.of(MOVIE[:2], "TZYX"))
    array = zarr.open_array(path / "0", mode="r+")
    first = prepare_batch(recipe, raw, out, each="file", may_be_empty=True)
    events = watch_batch(first, patience=PATIENCE)
    while not isinstance(event := next(events), ItemChanged) or event.done < 2:
        pass
    events.close()  # as when napari is closed
    array.resize(SHAPE)
    array[2:] = MOVIE[2:]
    made = []
    for event in watch_batch(prepare_batch(recipe, raw, out, each="file", resume=True), patience=PATIENCE):
        made += [event.message] if isinstance(event, ItemChanged) and event.state == "running" else []
    assert sorted(made) == ["frame 3", "frame 4"]
    alone = napari_recon.run("fusion.background", path, params=PARAMS)["clean"]
    np.testing.assert_array_equal(open_stack(out / "cells.ome.zarr").data, alone)


def test_what_never_becomes_whole_is_a_failure(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "half.tif").write_bytes(b"II*")
    prepared = prepare_batch(recipe, tmp_path / "raw", tmp_path / "out", each="file")
    *_, end = watch_batch(prepared, patience=PATIENCE)
    assert isinstance(end, BatchFinished) and len(end.failed) == 1 and "half" in end.outcomes[end.failed[0]].message
