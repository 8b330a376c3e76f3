"""ML-SIM networks against what the published code makes of the same files: inputs, raw output, wide field, preview."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_recon.core.compute import Compute
from napari_recon.core.plan import InputRef, ModelRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.network import SimNetwork
from napari_recon.engines.sim.networks.checkpoint import build, load_network, recognise
from napari_recon.engines.sim.networks.normalise import normalised, picked, preview
from napari_recon.engines.sim.networks.shapes import expected_shapes
from napari_recon.hub import check, resolve
from tests.contract.examples import collect

CASES = {
    "small_train_ckpt": ("minmax", "adapthist", "minmax0.5", "none"),
    "readme_g2b5f48_raw": ("minmax",),
    "scale2_small": ("minmax", "adapthist"),
    "narch1_small": ("minmax",),
    "edsr_small": ("minmax",),
    "nch6_small": ("minmax",),
    "nch3_18frames": ("minmax",),
}


@pytest.fixture(scope="module")
def folder(parity_dir: Path) -> Path:
    return parity_dir / "sim" / "mlsim_rcan"


def checkpoint_in(folder: Path) -> Path:
    return next(folder.glob("*.pth"))


def recipe_state(options: Any) -> dict[str, Any]:
    """Weights of the full-size network, drawn as the fixture's README says."""
    import torch

    recipe, state = options["weights_recipe"], {}
    for number, (name, shape) in enumerate(sorted(expected_shapes("rcan", options).items())):
        values = np.random.RandomState(recipe["seed"] + number).standard_normal(shape)
        values *= recipe["gain"] / np.sqrt(np.prod(shape[1:])) if name.endswith("weight") else recipe["bias_std"]
        state[name] = torch.from_numpy(values.astype(np.float32))
    state["tail.0.weight"] *= recipe["tail_weight_multiplier"]
    state["tail.0.bias"].fill_(recipe["tail_bias"])
    return state


@pytest.mark.parametrize("case", CASES)
def test_the_file_alone_says_what_the_network_is(folder: Path, case: str) -> None:
    config = json.loads((folder / case / "config.json").read_text())
    report = check(checkpoint_in(folder / case))
    assert report.fits, report.problems
    assert (report.engine, report.architecture) == ("sim.network", config["model"])
    assert report.options == {name: config[name] for name in report.options}
    assert {"nch_in", "nch_out", "n_feats", "n_resblocks", "scale"} <= set(report.options)


@pytest.mark.parametrize(("case", "norm"), [(case, norm) for case, norms in CASES.items() for norm in norms])
def test_inputs_outputs_and_previews(folder: Path, case: str, norm: str) -> None:
    import torch

    expected, tag = np.load(folder / case / "expected.npz"), norm.replace("0.", "0p")
    model = resolve(checkpoint_in(folder / case))
    network = load_network(model)
    frames = tifffile.imread(folder / case / "stack.tif")[:9].astype(np.float32)
    features, widefield, constant = normalised(frames[list(picked(9, model.options["nch_in"]))], norm)
    np.testing.assert_allclose(features[len(features) // 2], expected[f"{tag}_input_mid_frame"], atol=1e-6)
    figures = np.stack([features.mean((1, 2)), features.std((1, 2))])
    np.testing.assert_allclose(figures, expected[f"{tag}_input_mean_std_per_frame"], atol=1e-6)
    np.testing.assert_allclose(widefield, expected[f"{tag}_wf"], atol=1e-6)
    assert constant == ()
    with torch.inference_mode():
        found = network(torch.from_numpy(features)[None])[0].numpy()
    np.testing.assert_allclose(found, expected[f"{tag}_net"], atol=2e-4)
    off = np.abs(preview(found[0]).astype(int) - expected[f"{tag}_png8"].astype(int))
    assert off.max() <= 2 and (off > 0).mean() < 0.01


def through_the_engine(case: Path, model: ModelRef, norm: str) -> dict[str, np.ndarray]:
    stack = ImageStack.of(tifffile.imread(case / "stack.tif"), "NYX", case.name)
    ref = InputRef(name="raw", uri=case.name, grid=stack.grid, dtype=str(stack.dtype))
    plan = SimNetwork().plan(
        [ref], {"compat": "upstream", "norm": norm}, model=model, compute=Compute(device="cpu", threads=1)
    )
    events = list(SimNetwork().run(plan, {"raw": [stack]}))
    return {spec.name: collect(events, spec.name) for spec in plan.outputs}


@pytest.mark.parametrize(("case", "norm"), [(case, norm) for case, norms in CASES.items() for norm in norms])
def test_the_engine_in_the_authors_way(folder: Path, case: str, norm: str) -> None:
    expected, tag = np.load(folder / case / "expected.npz"), norm.replace("0.", "0p")
    found = through_the_engine(folder / case, resolve(checkpoint_in(folder / case)), norm)
    np.testing.assert_allclose(found["sr"], expected[f"{tag}_net"][0], atol=2e-4)
    np.testing.assert_allclose(found["widefield"], expected[f"{tag}_wf"], atol=1e-6)
    off = np.abs(found["preview"] - expected[f"{tag}_png8"])
    assert off.max() <= 2 and (off > 0).mean() < 0.01


def test_the_published_size(folder: Path, tmp_path: Path) -> None:
    import torch

    case = folder / "published_g3b10f96_recipe"
    state = recipe_state(json.loads((case / "config.json").read_text()))
    found = recognise(state)
    assert found is not None and found.fits
    assert (len(state), sum(t.numel() for t in state.values())) == (252, 5_360_917)
    network = build(found.architecture, found.options)
    network.load_state_dict(state)
    features = normalised(tifffile.imread(case / "stack.tif").astype(np.float32), "minmax")[0]
    with torch.inference_mode():
        image = network.eval()(torch.from_numpy(features)[None])[0].numpy()
    expected = np.load(case / "expected.npz")["minmax_net"]
    np.testing.assert_allclose(image, expected, atol=5e-4)
    torch.save(state, tmp_path / "published.pth")
    found = through_the_engine(case, resolve(tmp_path / "published.pth"), "minmax")
    np.testing.assert_allclose(found["sr"], expected[0], atol=2e-5)
