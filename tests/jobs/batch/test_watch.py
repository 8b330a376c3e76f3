"""Frames are made as they land; half files wait; the result is that of a single run.

Time is told by the test: it goes on only when the watch waits, and what the microscope does is said per wait.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import zarr

import napari_recon
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.io import open_stack, write_stack
from napari_recon.jobs.batch.run import BatchFinished, ItemChanged, prepare_batch
from napari_recon.jobs.batch.watch import AGAIN_S, POLL_S, Clock, Patience, watch_batch

from .conftest import SHAPE, recording

PATIENCE = Patience(settle=2 * POLL_S, complete=6 * POLL_S, idle=20 * POLL_S)
PARAMS = {"preset": "SKL", "camera_offset": 5.0}
MOVIE = np.random.default_rng(4).integers(100, 400, SHAPE).astype(np.uint16)


@dataclass
class Microscope:
    """Does things while the watch waits; `at[4]` is done in its fifth wait."""

    at: dict[int, Callable[[], object]] = field(default_factory=dict)
    waits: int = 0

    def sleep(self, seconds: float) -> None:
        act = self.at.pop(self.waits, None)
        self.waits += 1
        if act is not None:
            act()

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.waits * POLL_S, sleep=self.sleep)


@dataclass
class Watch:
    """A watch from beginning to end; `made` are the frames in their order."""

    recipe: Path
    raw: Path
    out: Path
    made: list[int] = field(default_factory=list)

    def __call__(self, at: dict[int, Callable[[], object]] | None = None, each: str = "file", resume: bool = False, **more):
        options = {"each": each, "resume": resume, "may_be_empty": True}
        scope, end = Microscope(dict(at or {})), None
        prepared = prepare_batch(self.recipe, self.raw, self.out, **options)
        for event in watch_batch(prepared, more.get("token"), more.get("patience", PATIENCE), scope.clock):
            if isinstance(event, ItemChanged) and event.message.startswith("frame"):
                self.made.append(int(event.message.split()[1]))
            end = event
        assert isinstance(end, BatchFinished) and not scope.at
        return end

    def check(self, source: Path | None = None) -> None:
        alone = napari_recon.run("fusion.background", source or self.raw / "cells", params=PARAMS)["clean"]
        np.testing.assert_array_equal(open_stack(self.out / "cells.ome.zarr").data, alone)


@pytest.fixture
def watch(recipe: Path, tmp_path: Path) -> Iterator[Watch]:
    (tmp_path / "raw").mkdir()
    yield Watch(recipe, tmp_path / "raw", tmp_path / "out")


def _add(folder: Path, *numbers: int, movie: np.ndarray = MOVIE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        write_stack(folder / f"t{number}.tif", ImageStack.of(movie[number], "ZYX"))


def test_a_growing_folder_is_followed_newest_first(watch: Watch) -> None:
    cells = watch.raw / "cells"

    def half() -> None:
        _add(cells, 2)
        whole.append((cells / "t2.tif").read_bytes())
        (cells / "t2.tif").write_bytes(whole[0][: len(whole[0]) // 2])

    def rest() -> None:
        (cells / "t2.tif").write_bytes(whole[0])
        _add(cells, 3)

    whole: list[bytes] = []
    end = watch({0: lambda: _add(cells, 0, 1), 5: half, 9: rest}, each="folder")
    assert watch.made == [2, 1, 4, 3] and [o.state for o in end.outcomes.values()] == ["done"] and not end.cancelled
    watch.check()


def test_what_is_added_to_a_complete_recording_is_taken_up(watch: Watch) -> None:
    _add(watch.raw / "cells", 0, 1, 2)
    patience = Patience(PATIENCE.settle, PATIENCE.complete, idle=3 * AGAIN_S)
    watch({40: lambda: _add(watch.raw / "cells", 3)}, each="folder", patience=patience)  # long after it was complete
    assert watch.made == [3, 2, 1, 4]
    watch.check()
    _add(watch.raw / "cells", 0, movie=MOVIE + 7)  # and what is written anew, also while nobody looks
    watch(each="folder", resume=True)
    assert watch.made[4:] == [1]
    watch.check()


def test_a_file_that_takes_the_place_of_another_is_made_anew(watch: Watch) -> None:
    file, other = recording(watch.raw / "cells.ome.tif", 1), recording(watch.out.parent / "other.ome.tif", 2)
    watch({4: lambda: os.replace(other, file)})
    assert watch.made == [3, 2, 1, 4] * 2
    watch.check(file)


def test_a_growing_store_is_followed_and_a_watch_can_be_taken_up(watch: Watch) -> None:
    path = write_stack(watch.raw / "cells.ome.zarr", ImageStack.of(MOVIE[:2], "TZYX"))
    array, token = zarr.open_array(path / "0", mode="r+"), CancelToken()
    assert watch({3: token.cancel}, token=token).cancelled
    array.resize((4, *SHAPE[1:]))  # a store that is made for more frames than are in it
    array[2] = MOVIE[2]
    assert sorted(watch.made) == [1, 2]

    def last() -> None:
        array[3] = MOVIE[3]

    watch({4: last}, resume=True)
    assert watch.made[2:] == [3, 4]
    watch.check(path)


def test_a_folder_that_is_moved_away_is_waited_for(watch: Watch) -> None:
    _add(watch.raw / "cells", *range(4))
    aside, back = watch.out.parent / "aside", watch.raw
    end = watch({0: lambda: shutil.move(back, aside)}, each="folder")
    assert end.cancelled and not end.failed and not watch.made
    shutil.move(aside, back)
    assert not watch(each="folder", resume=True).cancelled and watch.made == [4, 3, 2, 1]
    watch.check()


def test_what_never_becomes_whole_is_a_failure(watch: Watch) -> None:
    (watch.raw / "half.tif").write_bytes(b"II*")
    end = watch()
    assert len(end.failed) == 1 and "half" in end.outcomes[end.failed[0]].message
