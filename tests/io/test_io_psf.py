"""PSF files of every convention become VZYX, or ZYX for a whole sensor."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from scipy.io import savemat
from scipy.sparse import csc_matrix

from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.io import open_inputs
from napari_recon.io.psf_files import cut_views, open_psf

SPEC = InputSpec(name="psf", axes="VZYX", accepts=("psf",))


@pytest.fixture
def sensor() -> np.ndarray:
    """Rows x columns x depths, mostly dark, as MATLAB simulators write it."""
    values = np.random.default_rng(0).random((21, 17, 3)).astype(np.float32)
    return np.where(values > 0.7, values, 0).astype(np.float32)


def _cells_of_sparse(path: Path, sensor: np.ndarray) -> None:
    """Write what MATLAB writes for a 1 x 1 x D cell of sparse matrices in a v7.3 file."""
    with h5py.File(path, "w", userblock_size=512) as file:
        references = []
        for depth in range(sensor.shape[2]):
            matrix = csc_matrix(sensor[:, :, depth])
            group = file.create_group(f"#refs#/{depth}")
            group.attrs["MATLAB_sparse"] = np.uint64(sensor.shape[0])
            group["jc"] = matrix.indptr.astype(np.uint64)
            if matrix.nnz:
                group["ir"], group["data"] = matrix.indices.astype(np.uint64), matrix.data.astype(np.float64)
            references.append(group.ref)
        file.create_dataset("H", data=np.array(references, dtype=object).reshape(-1, 1, 1), dtype=h5py.ref_dtype)
        file["note"] = np.zeros((1, 1))


@pytest.mark.parametrize("kind", ["v7.3", "v7.3 cells", "old", "old cells", "npz", "npy", "tif"])
def test_a_sensor_psf_is_read_depth_first(tmp_path: Path, sensor: np.ndarray, kind: str) -> None:
    sensor[:, :, 1] = 0
    path = tmp_path / f"psf.{'mat' if kind.split()[0] in ('v7.3', 'old') else kind}"
    if kind == "v7.3":
        with h5py.File(path, "w", userblock_size=512) as file:
            file["H"] = sensor.T
    elif kind == "v7.3 cells":
        _cells_of_sparse(path, sensor)
    elif kind == "old":
        savemat(path, {"H": sensor, "depths": np.arange(3.0)})
    elif kind == "old cells":
        cells = np.empty((1, 1, 3), dtype=object)
        cells[0, 0, :] = [csc_matrix(sensor[:, :, d].astype(np.float64)) for d in range(3)]
        savemat(path, {"H": cells})
    elif kind == "npz":
        np.savez(path, H=sensor, other=np.zeros(3))
    elif kind == "npy":
        np.save(path, sensor)
    else:
        tifffile.imwrite(path, sensor.transpose(2, 0, 1))
    stack = open_psf(path, voxel_size_um={"z": 0.5, "y": 0.2, "x": 0.2})
    assert stack.grid.axes == "ZYX" and stack.grid.step("Z") == 0.5 and stack.grid.unit("X") == "micrometer"
    np.testing.assert_allclose(np.asarray(stack.data), sensor.transpose(2, 0, 1), rtol=1e-7)


@pytest.mark.parametrize("suffix", ["mat", "npz", "npy", "tif"])
@pytest.mark.parametrize("matlab_order", [False, True])
def test_a_stack_of_views_is_read(tmp_path: Path, suffix: str, matlab_order: bool) -> None:
    views = np.random.default_rng(1).random((7, 5, 9, 9)).astype(np.float32)
    path = tmp_path / f"psf.{suffix}"
    stored = views.transpose(2, 3, 1, 0) if matlab_order and suffix == "mat" else views
    if suffix == "mat":
        with h5py.File(path, "w", userblock_size=512) as file:
            file["psf"] = stored.T
    elif suffix == "npz":
        np.savez(path, stored)
    elif suffix == "npy":
        np.save(path, stored)
    else:
        tifffile.imwrite(path, stored, photometric="minisblack")
    (stack,) = open_inputs(SPEC, [path])
    assert stack.grid.axes == "VZYX"
    np.testing.assert_array_equal(np.asarray(stack.data), views)


def test_a_stack_of_views_that_another_program_wrote_as_mat_is_not_turned(tmp_path: Path) -> None:
    views = np.random.default_rng(1).random((7, 5, 9, 9)).astype(np.float32)
    with h5py.File(tmp_path / "psf.mat", "w") as file:  # no header of MATLAB's
        file["Hs"] = views
    np.testing.assert_array_equal(np.asarray(open_psf(tmp_path / "psf.mat").data), views)
    savemat(tmp_path / "alike.mat", {"H": views[:5].transpose(2, 3, 1, 0)})  # as many views as planes
    np.testing.assert_array_equal(np.asarray(open_psf(tmp_path / "alike.mat").data), views[:5])


def test_views_are_cut_around_their_centres(tmp_path: Path, sensor: np.ndarray) -> None:
    savemat(tmp_path / "psf.mat", {"H": sensor})
    stack = open_psf(tmp_path / "psf.mat", voxel_size_um={"y": 0.2, "x": 0.2}, centres=[(5, 6), (12, 9)], radius=3)
    assert stack.grid.axes == "VZYX" and stack.grid.shape == (2, 3, 7, 7)
    assert stack.grid.to_world("Y", 3) == 0.0
    np.testing.assert_array_equal(np.asarray(stack.data)[1], sensor[9:16, 6:13].transpose(2, 0, 1))


def test_published_examples(parity_dir: Path) -> None:
    folder = parity_dir / "lfinr" / "psf_loading"
    expected = np.load(folder / "expected.npz")
    centres = [(15, 15), (15, 40), (45, 15), (45, 40)]
    cut = open_psf(folder / "H_integrated.mat", centres=centres, radius=6)
    np.testing.assert_array_equal(np.asarray(cut.data), expected["Hs"])
    for name in ("Hs_cropped.npy", "Hs_cropped.tif"):
        np.testing.assert_array_equal(np.asarray(open_psf(folder / name).data), expected["Hs"])
    whole = np.asarray(open_psf(folder / "H_integrated.mat").data)
    np.testing.assert_array_equal(cut_views(whole[::-1, ::-1, ::-1], centres, 6), expected["Ht"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": np.zeros((5, 5, 3)), "b": np.zeros((5, 5, 3))}, "several PSFs among: a, b; write psf.mat::NAME"),
        ({"a": np.zeros((5, 5))}, "found none among: a"),
        ({"H": np.zeros((2, 2, 2, 2, 2))}, "found shape"),
    ],
)
def test_other_content_is_one_sentence(tmp_path: Path, content: dict[str, np.ndarray], message: str) -> None:
    savemat(tmp_path / "psf.mat", content)
    with pytest.raises(InputError, match=message):
        open_psf(tmp_path / "psf.mat")


def test_views_by_angular_row_and_column_become_pages(tmp_path: Path) -> None:
    psf = np.random.default_rng(0).random((9, 7, 3, 3, 5))
    savemat(tmp_path / "psf.mat", {"psf": psf})
    stack = open_psf(tmp_path / "psf.mat")
    assert stack.grid.axes == "VZYX" and stack.grid.shape == (9, 5, 9, 7)
    np.testing.assert_array_equal(np.asarray(stack.data)[5, 2], psf[:, :, 1, 2, 2].astype(np.float32))


def test_a_cut_stays_on_the_sensor(sensor: np.ndarray) -> None:
    with pytest.raises(InputError, match="a radius up to 4"):
        cut_views(sensor.transpose(2, 0, 1), [(4, 8)], 5)
