"""Neural fields against the volumes and files that the published program makes of the same checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import napari_recon
from napari_recon.engines.lightfield_inr.engine import Query
from napari_recon.hub import resolve

SCENES = ("small", "mito_cfg", "tube_cfg", "opt_cfg", "cryo_cfg", "radial", "noembed_leaky")


@pytest.fixture(scope="module")
def family(parity_dir: Path) -> Path:
    return parity_dir / "lfinr"


def query(model: Path, **params: Any) -> NDArray[Any]:
    result = napari_recon.run("lightfield_inr.query", model=str(model), params=params, device="cpu", threads=1)
    assert result.outputs["volume"].dtype == ("uint16" if params.get("scaling") == "upstream" else "float32")
    return result["volume"]


def assert_sixteen_bits(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2


@pytest.mark.parametrize("case", SCENES)
def test_scenes_by_the_settings_beside_them(family: Path, case: str) -> None:
    expected = np.load(family / f"query_{case}" / "expected.npz")
    found = query(family / f"query_{case}" / "cp_000003.tar")
    np.testing.assert_allclose(found, expected["volume"], rtol=0, atol=1e-5)
    assert_sixteen_bits(query(family / f"query_{case}" / "cp_000003.tar", scaling="upstream"), expected["tif_u16"])


@pytest.mark.parametrize(
    ("case", "params"),
    [
        ("small", {}),
        ("mito_cfg", {"preset": "mito"}),
        ("tube_cfg", {}),
        ("opt_cfg", {"preset": "opt"}),
        ("cryo_cfg", {}),
        ("radial", {"encoder": "radial", "octaves": 6, "octaves_z": 4}),
        ("noembed_leaky", {"post_processor": "leakyrelu"}),
    ],
)
def test_scenes_without_settings_file(family: Path, tmp_path: Path, case: str, params: dict[str, Any]) -> None:
    expected = np.load(family / f"query_{case}" / "expected.npz")["volume"]
    alone = Path(shutil.copy(family / f"query_{case}" / "cp_000003.tar", tmp_path))
    planes, height, width = expected.shape
    np.testing.assert_allclose(query(alone, render_size=(height, width, planes), **params), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", SCENES)
def test_coordinates(family: Path, case: str) -> None:
    from napari_recon.engines.lightfield_inr.encoding import axis_coordinates

    expected = np.load(family / f"query_{case}" / "expected.npz")
    shape = expected["volume"].shape
    found = {a: axis_coordinates(a, np.arange(n), shape).numpy() for a, n in zip("zyx", shape, strict=True)}
    for axis in "xyz":
        np.testing.assert_array_equal(found[axis], expected[f"coord_{axis}"])
    np.testing.assert_allclose([found[a][0] for a in "xyz"], expected["coord_first"], atol=1e-6)
    np.testing.assert_allclose([found[a][-1] for a in "xyz"], expected["coord_last"], atol=1e-6)


@pytest.mark.parametrize("case", SCENES)
def test_the_network_point_by_point(family: Path, case: str) -> None:
    """Training evaluates points as they come; the numbers are those of the lattice."""
    import torch

    from napari_recon.engines.lightfield_inr.checkpoint import load_states
    from napari_recon.engines.lightfield_inr.encoding import axis_coordinates, lattice_coordinates
    from napari_recon.engines.lightfield_inr.field import options_of
    from napari_recon.engines.lightfield_inr.network import FieldNetwork, post_processed

    expected = np.load(family / f"query_{case}" / "expected.npz")
    model = resolve(family / f"query_{case}" / "cp_000003.tar")
    params = Query().params_of(Query().plan([], {}, model=model))
    assert params.encoding.length == int(expected["embed_dim"])
    network = FieldNetwork(options_of(model.options), params.encoding)
    network.load_state_dict(load_states(model)[0])
    shape = expected["volume"].shape
    z, y, x = (axis_coordinates(a, np.arange(n), shape) for a, n in zip("zyx", shape, strict=True))
    with torch.no_grad():
        found = post_processed(network(lattice_coordinates(x, y, z)), params.post).numpy()
    np.testing.assert_allclose(found, expected["volume"], rtol=0, atol=1e-5)


def test_a_sequence_with_box_and_time_range(family: Path) -> None:
    folder = family / "query_4d"
    expected = np.load(folder / "expected.npz")
    numbers = {"roi_xyzwhd": expected["roi_xyzwhd"].tolist(), "t_range": expected["t_range"].tolist()}
    found = query(folder / "cp_4DWeights.tar", **numbers)
    np.testing.assert_allclose(found, expected["volume_f32"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(query(folder / "cp_4DWeights.tar", config=str(folder / "config.cfg")), found)
    assert_sixteen_bits(query(folder / "cp_4DWeights.tar", scaling="upstream", **numbers), expected["tif_u16"])
    x, y, z, w, h, d = expected["roi_xyzwhd"] - [1, 1, 1, 0, 0, 0]
    box = {"z": (int(z), int(z + d)), "y": (int(y), int(y + h)), "x": (int(x), int(x + w))}
    first, last = expected["t_range"].tolist()
    result = napari_recon.run(
        "lightfield_inr.query", model=str(folder / "cp_4DWeights.tar"), roi=box, time=(first - 1, last)
    )
    np.testing.assert_allclose(result["volume"], expected["volume_f32"], rtol=0, atol=1e-5)


def test_the_field_of_fourier_ptychography(family: Path, tmp_path: Path) -> None:
    import torch

    parts = np.load(family / "query_fpm_nerf_ex" / "checkpoint_parts.npz")
    expected = np.load(family / "query_fpm_nerf_ex" / "expected.npz")
    factors = (parts[name].astype(np.float64) for name in "uvwc")
    table = np.einsum("ri,rj,rk,rc->ijkc", *factors).astype(np.float32) * parts["scale"]
    state = {"table": table, **{name.removeprefix("sd/"): parts[name] for name in parts.files if name.startswith("sd/")}}
    path = tmp_path / "cp_fpm.tar"
    torch.save({name: torch.from_numpy(values) for name, values in state.items()}, path)
    found, steps = query(path), tuple(slice(None, None, int(n)) for n in expected["stride"])
    assert found.shape == tuple(expected["shape"])
    np.testing.assert_allclose(found[steps], expected["volume_strided"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[:6, :12, :12], expected["corner"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[-6:, -12:, -12:], expected["corner_end"], rtol=0, atol=1e-5)
    assert found.min() == pytest.approx(float(expected["vmin"]), abs=1e-5)
    assert found.max() == pytest.approx(float(expected["vmax"]), abs=1e-5)
    from napari_recon.engines.lightfield_inr.query import sixteen_bits

    assert_sixteen_bits(sixteen_bits(found)[steps], expected["u16_strided"])
