"""MRC files as microscopes write them, with every known pixel type and either byte order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.io import open_stack


def written(path: Path, array: np.ndarray, mode: int, order: str = "<", extended: int = 0, samples: int = 1) -> Path:
    words = np.zeros(256, f"{order}i4")
    words[:4] = [*array.shape[::-1], mode]
    words[7:10] = [samples] * 3
    words[23] = extended
    words.view(f"{order}f4")[10:13] = [0.0926, 0.0926, 0.18]
    path.write_bytes(words.tobytes() + bytes(extended) + array.astype(array.dtype.newbyteorder(order)).tobytes())
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("mode", "dtype"), [(0, "i1"), (1, "i2"), (2, "f4"), (4, "c8"), (6, "u2"), (12, "f2")])
def test_every_mode_byte_order_and_extended_header(tmp_path: Path, mode: int, dtype: str, order: str) -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
    stack = open_stack(written(tmp_path / "a.mrc", array, mode, order, extended=96))
    assert stack.grid.axes == "ZYX"
    np.testing.assert_array_equal(np.asarray(stack.data), array)


def test_a_microscope_writes_micrometers_per_sample(tmp_path: Path) -> None:
    stack = open_stack(written(tmp_path / "a.mrc", np.zeros((5, 3, 4), "u2"), 6))
    assert stack.grid.scale == pytest.approx((0.18, 0.0926, 0.0926))
    assert stack.grid.units == ("micrometer",) * 3


def test_other_files_hold_the_length_of_the_cell_in_angstrom(tmp_path: Path) -> None:
    stack = open_stack(written(tmp_path / "a.mrc", np.zeros((5, 5, 5), "u2"), 6, samples=5))
    assert stack.grid.scale == pytest.approx((0.18e-4 / 5, 0.0926e-4 / 5, 0.0926e-4 / 5))


def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.mrc", np.zeros((5, 3, 4), "u2"), 6).read_bytes()
    for content, words in ((whole[:1050], "truncated"), (whole[:400], "1024 bytes"), (b"\x05" * 2000, "mode")):
        (tmp_path / "b.mrc").write_bytes(content)
        with pytest.raises(InputError, match=words):
            open_stack(tmp_path / "b.mrc")
