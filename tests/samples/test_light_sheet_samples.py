"""Light-sheet samples: made when opened, in place, without torch, and of use to the engines meant for them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import napari_recon
from napari_recon import samples
from napari_recon.core.stack import ImageStack


def _stack(layer: tuple[np.ndarray, dict[str, object], str]) -> ImageStack:
    data, look, _ = layer
    scale, translate = (dict(zip("ZYX", look[name], strict=True)) for name in ("scale", "translate"))
    return ImageStack.of(
        data, "ZYX", str(look["name"]), scale=scale, translate=translate, units=dict.fromkeys("ZYX", "micrometer")
    )


def test_the_raw_stack_tells_its_step_and_the_truth_lies_on_the_straightened_volume() -> None:
    raw, truth = samples.light_sheet()
    assert raw[1]["scale"] == (0.2, 0.1, 0.1) and raw[0].dtype == np.uint16 and raw[0].nbytes < 1e6
    assert truth[1]["visible"] is False
    straight = napari_recon.run("fusion.deskew", _stack(raw), params={"coverslip": True}).outputs["volume"].grid
    end = [g.to_world("X", g.size("X") / 2) for g in (straight, _stack(truth).grid)]
    assert end[0] == pytest.approx(end[1], abs=0.1)


def test_views_and_psfs_fuse_to_the_truth() -> None:
    view_a, view_b, psf_a, psf_b, truth = map(_stack, samples.dual_view())
    fused = napari_recon.run(
        "fusion.multiview_rl", inputs={"views": [view_a, view_b], "psf": [psf_a, psf_b]}, params={"iterations": 12}
    )["volume"]
    found, single = (np.corrcoef(v.ravel(), np.asarray(truth.data).ravel())[0, 1] for v in (fused, np.asarray(view_a.data)))
    assert found > single + 0.1


def test_napari_accepts_the_layers() -> None:
    layers = pytest.importorskip("napari.layers")
    for data, look, kind in [*samples.light_sheet(), *samples.dual_view()]:
        assert layers.Layer.create(data, look, kind).ndim == 3


def test_opening_the_samples_imports_no_torch() -> None:
    code = (
        "import sys; from napari_recon import samples; samples.light_sheet(); samples.dual_view();"
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
