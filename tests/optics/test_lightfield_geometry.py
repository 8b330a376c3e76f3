"""View orders, geometric and loaded psf_shifts."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.optics.lightfield_geometry import (
    VIEW_ORDERS,
    centre_of_mass_shift,
    centre_planes,
    geometric_psf_shift,
    load_psf_shift,
    page_indices,
)

FILES = {13: "Ideal_PhazeSpacePSF_M63", 15: "debye_integral_0"}


@pytest.mark.parametrize(("nnum", "views"), [(13, 49), (15, 81)])
def test_view_orders_start_in_the_centre_and_are_distinct(nnum: int, views: int) -> None:
    order = VIEW_ORDERS[nnum]
    assert len(order) == len(set(order)) == views
    assert order[0] == nnum * nnum // 2
    centred = np.array([divmod(i, nnum) for i in order]) - nnum // 2
    assert np.array_equal(np.sort(centred, axis=0), np.sort(-centred, axis=0)), "views should be point symmetric"


def test_page_indices_order_full_stacks_and_keep_selected_ones() -> None:
    assert page_indices(169, 49) == VIEW_ORDERS[13]
    assert page_indices(49, 49) == tuple(range(49))
    with pytest.raises(InputError, match=r"169 views .* or the 49 views in use, found 225"):
        page_indices(225, 49)
    with pytest.raises(InputError, match="found 50"):
        page_indices(169, 50)


def test_geometric_shift_moves_y_with_rows_and_x_with_columns() -> None:
    shift = geometric_psf_shift(13, 7, views=(84, 85, 97, 32))
    assert shift.dtype == np.float32
    assert not shift[0].any()
    assert (shift[1, :, 0] == 0).all() and (np.diff(shift[1, :, 1]) > 0).all()
    assert (shift[2, :, 1] == 0).all() and (np.diff(shift[2, :, 0]) > 0).all()
    assert (np.diff(shift[3, :, 0]) < 0).all()
    assert not shift[:, 3].any(), "the middle plane is in focus"


@pytest.mark.parametrize(("nnum", "relative", "largest"), [(13, 0.005, 0.43), (15, 0.0035, 0.67)])
def test_named_microscopes_agree_with_the_published_files(
    parity_dir: Path, nnum: int, relative: float, largest: float
) -> None:
    folder = parity_dir / "serenet" / "upstream_weights" / "psf"
    published = load_psf_shift(next(folder.glob(f"{FILES[nnum]}*")))
    named = load_psf_shift(f"geometric-{nnum}")
    assert published.nnum == nnum and published.z_step_um == named.z_step_um
    assert published.na == named.na and published.magnification == named.magnification
    difference = named.psf_shift - published.psf_shift
    assert np.linalg.norm(difference) < relative * np.linalg.norm(published.psf_shift)
    assert abs(difference).max() < largest


def test_paraxial_fallback_and_centre_of_mass_match_the_authors(parity_dir: Path) -> None:
    units = np.load(parity_dir / "serenet" / "units" / "units.npz")
    np.testing.assert_allclose(geometric_psf_shift(13, 7), units["get_shift_M63_Nnum13_d7"], atol=1e-5)
    np.testing.assert_allclose(centre_of_mass_shift(units["psf"][0]), units["centerofmass"], atol=1e-5)


def test_centre_planes_keep_the_focus_and_refuse_even_numbers() -> None:
    shift = geometric_psf_shift(13, 101, views=(85,))
    assert not centre_planes(shift, 33)[0, 16].any()
    assert centre_planes(shift, 101).shape == shift.shape
    for wrong in (32, 103, 0, -1):
        with pytest.raises(InputError, match="odd number up to 101"):
            centre_planes(shift, wrong)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
def test_files_of_all_views_are_reduced_to_the_published_order(tmp_path: Path, suffix: str) -> None:
    every = geometric_psf_shift(13, 5)
    path = tmp_path / f"microscope_psfshift_all{suffix}"
    if suffix == ".npy":
        np.save(path, every)
    elif suffix == ".npz":
        np.savez(path, psf_shift=every)
    else:
        import torch

        torch.save(torch.from_numpy(every), path)
    geometry = load_psf_shift(path)
    np.testing.assert_array_equal(geometry.psf_shift, every[list(VIEW_ORDERS[13])])
    assert (geometry.views, geometry.planes, geometry.nnum) == (49, 5, 13)
    assert geometry.upsampling == pytest.approx(13 / 3)
    assert geometry.volume_yx(20, 23) == (87, 100)
    assert geometry.with_planes(3).planes == 3


@pytest.mark.parametrize("form", ["plain", "transposed", "double", "part", "cropped"])
def test_torch_files_of_any_layout_are_read(tmp_path: Path, form: str) -> None:
    import torch

    from napari_recon.optics.tensor_file import _described

    tensor = torch.from_numpy(geometric_psf_shift(13, 7, views=VIEW_ORDERS[13]))
    stored = {
        "plain": tensor,
        "transposed": tensor.transpose(0, 1).contiguous().transpose(0, 1),
        "double": tensor.double(),
        "part": torch.cat([tensor, tensor])[49:],
        "cropped": torch.cat([tensor, tensor], dim=1)[:, :7],
    }[form]
    path = tmp_path / "microscope_psfshift_49views.pt"
    torch.save(stored, path)
    loaded = load_psf_shift(path).psf_shift
    np.testing.assert_array_equal(loaded, tensor.numpy())
    assert loaded.flags.writeable, "torch wants writable arrays"
    assert (_described(path) is not None) == (form in ("plain", "double"))


def test_the_published_files_need_no_torch(parity_dir: Path) -> None:
    folder = parity_dir / "serenet" / "upstream_weights" / "psf"
    code = (
        "import sys\n"
        "from napari_recon.optics.lightfield_geometry import load_psf_shift\n"
        "assert [load_psf_shift(f).planes for f in sys.argv[1:]] == [101, 101]\n"
        "assert 'torch' not in sys.modules\n"
    )
    files = [str(path) for path in sorted(folder.glob("*.pt"))]
    subprocess.run([sys.executable, "-c", code, *files], check=True, timeout=60)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)


def test_unfit_files_are_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("wrong.npy", np.zeros((50, 5, 2), np.float32))
    np.save("nan.npy", np.full((49, 5, 2), np.nan, np.float32))
    Path("code.pt").write_bytes(pickle.dumps(Evil()))
    for name, text in [("wrong.npy", "found \\(50, 5, 2\\)"), ("nan.npy", "finite"), ("code.pt", "plain array")]:
        with pytest.raises(InputError, match=text):
            load_psf_shift(name)
    with pytest.raises(InputError, match=r"geometric-13.*'geometric-14'"):
        load_psf_shift("geometric-14")
    assert not Path("executed").exists()
