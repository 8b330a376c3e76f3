"""Frames that are read piece by piece."""

from __future__ import annotations

import numpy as np
import pytest

from napari_recon.core import pieces
from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.pieces import pieces_of
from napari_recon.core.stack import ImageStack

SPEC = InputSpec(name="raw", axes="ZYX", lazy=True)


def series() -> ImageStack:
    return ImageStack.of(np.arange(2 * 5 * 3 * 4, dtype=np.uint16).reshape(2, 3, 5, 4), "TYZX", "raw")


def test_a_piece_is_the_crop_of_the_frame_in_the_declared_axes() -> None:
    stack = series()
    frame = pieces_of(stack, SPEC, {"T": 1})
    whole = stack.read("ZYX", t=1)
    assert frame.shape == whole.shape == (5, 3, 4)
    part = frame.read(slice(1, 3), slice(None), slice(0, 2))
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, whole[1:3, :, :2])


def test_pieces_cover_the_frame_once_and_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 24)
    frame = pieces_of(series(), SPEC, {"T": 0})
    assert [s.stop - s.start for s in frame.planes()] == [2, 2, 1]
    assert frame.checked() == (0.0, 59.0)


def test_unfit_content_is_found_by_looking_at_all_of_it() -> None:
    array = np.random.default_rng(0).random((4, 3, 3)).astype(np.float32)
    array[3, 1, 1] = np.nan
    with pytest.raises(InputError, match="1 NaN or infinite"):
        pieces_of(ImageStack.of(array, "ZYX", "raw"), SPEC, {}).checked()
    with pytest.raises(InputError, match="constant"):
        pieces_of(ImageStack.of(np.ones((4, 3, 3)), "ZYX", "raw"), SPEC, {}).checked()
