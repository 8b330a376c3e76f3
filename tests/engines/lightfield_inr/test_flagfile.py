"""The published program's settings file."""

from __future__ import annotations

import pytest

from napari_recon.core.errors import InputError
from napari_recon.engines.lightfield_inr.flagfile import parse


def test_values_have_their_kinds() -> None:
    text = """
    --action=TRAIN
    --skips=[]
    --boundary_range=90,317
    --multiresZ=6
    --lrate=5e-4
    --render_size="499,499,51"
    --local_normalization=True
    --noadd_ssim_loss
    --retain_gray
    --weights_path=None
    # a remark
    --nologtostderr
    """
    assert parse(text) == {
        "action": "TRAIN",
        "skips": [],
        "boundary_range": [90, 317],
        "multiresZ": 6,
        "lrate": 5e-4,
        "render_size": [499, 499, 51],
        "local_normalization": True,
        "add_ssim_loss": False,
        "retain_gray": True,
        "weights_path": None,
    }


def test_empty_values_are_empty_lists() -> None:
    assert parse("--boundary_range=\n--skips=\n--no_reload=false") == {"boundary_range": [], "skips": [], "no_reload": False}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("--netdept=4", r"unknown key 'netdept' in line 1; known are action, .*netdepth"),
        ("--netdepth=four", r"'four' for netdepth in line 1"),
        ("\nnetdepth=4", r"--key=value on each line, found 'netdepth=4' in line 2"),
        ("--compile=perhaps", r"'perhaps' for compile"),
    ],
)
def test_what_is_wrong_is_said(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse(text, "config.cfg")
