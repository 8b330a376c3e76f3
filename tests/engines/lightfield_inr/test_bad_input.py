"""What users give by mistake, for both methods of a fit: mended and said, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.events import BlockReady, Warned
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.stack import ImageStack
from tests.contract.examples import Example

from .scenes import example, fast_example, psf

METHODS = {"fast": fast_example, "upstream": example}
Change = Callable[[np.ndarray], np.ndarray]


def with_psf(method: str, change: Change) -> Example:
    one = METHODS[method](iterations=2)
    response = one.stacks["psf"]
    other = ImageStack(change(psf().numpy()), response.grid, "psf")
    return Example(one.engine, {**one.stacks, "psf": other}, one.params)


def spoiled(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[0, 0, 0, :2] *= -1
    return values


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (spoiled, "the PSF has negative values"),
        (lambda p: p * 7, "scaled, so that"),
        (lambda p: p * (np.arange(5) > 2)[:, None], r"off its centre by \(\+1\.\d, "),
    ],
)
def test_a_psf_that_can_be_mended_is_said(method: str, change: Change, sentence: str) -> None:
    one = with_psf(method, change)
    events = one.events(one.plan())
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError([event.message for event in events if isinstance(event, Warned)])
    assert any(isinstance(event, BlockReady) for event in events)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        (Selection(box=Box(y=(10, 40))), "should lie inside y=0:21, found y=10:40"),
        (Selection(time=TimeRange(start=1, stop=9)), "should lie inside 0:3, found 1:9"),
    ],
)
def test_a_part_that_is_not_there(method: str, selection: Selection, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        METHODS[method](3).plan(selection)


@pytest.mark.parametrize("method", METHODS)
def test_an_even_psf_says_where_its_middle_lies(method: str) -> None:
    one = METHODS[method]()
    cut = ImageStack.of(psf().numpy()[..., :4], "VZYX", "psf")
    other: dict[str, Any] = {**one.stacks, "psf": cut}
    with pytest.raises(InputError, match="found 5 x 4: its middle lies no pixel below and half a pixel right"):
        Example(one.engine, other, one.params).plan()


@pytest.mark.parametrize("suffix", ["npy", "npz", "tif"])
def test_a_psf_without_views_is_told_what_is_missing(tmp_path: Path, suffix: str) -> None:
    path, planes = tmp_path / f"psf.{suffix}", psf().numpy()[0]
    write = {"npy": np.save, "npz": lambda file, data: np.savez(file, H=data), "tif": tifffile.imwrite}[suffix]
    write(path, planes)
    with pytest.raises(InputError, match=r"should have axes VZYX.*found ZYX.*; stack one PSF per view"):
        napari_recon.plan("lightfield_inr.fit", example().stacks["views"], path)
