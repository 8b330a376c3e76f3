"""psf_shift from a whole PSF: centres of mass, what its file says, and PSFs that do not belong to the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS, geometric_psf_shift, load_psf_shift
from napari_recon.optics.psf_shift import check_field, geometry_of_psf, pixels_per_view_pixel, scanned_as

PIXEL = 100 / 13 / 63


def made_psf(views: int = 49, planes: int = 7, size: int = 41) -> tuple[np.ndarray, np.ndarray]:
    """Return Gaussian spots where a table says, and the table."""
    nnum = 13
    pages = VIEW_ORDERS[nnum] if views == 49 else range(nnum * nnum)
    table = geometric_psf_shift(nnum, planes, views=tuple(pages)) * (2.0 if views == 49 else 1.0)
    place = np.arange(size) - (size - 1) / 2
    spots = [np.exp(-0.5 * ((place - table[..., axis, None]) / 1.5) ** 2) for axis in (0, 1)]
    return (spots[0][..., :, None] * spots[1][..., None, :]).astype(np.float32), table


def psf_grid(shape: tuple[int, ...], pixel_um: float = PIXEL, first_um: float | None = None) -> Grid:
    first = -(shape[1] // 2) * 0.3 if first_um is None else first_um
    units = dict.fromkeys("ZYX", "micrometer")
    return Grid.of("VZYX", shape, {"Z": 0.3, "Y": pixel_um, "X": pixel_um}, {"Z": first}, units)


def field_of(pixel_um: float) -> Grid:
    return Grid.of("VYX", (49, 9, 9), {"Y": pixel_um, "X": pixel_um}, units={"Y": "micrometer", "X": "micrometer"})


def test_the_centres_of_mass_and_what_the_file_says() -> None:
    psf, table = made_psf()
    geometry = geometry_of_psf(psf, psf_grid(psf.shape), "mine", {"na": (1.1,)})
    assert np.abs(geometry.psf_shift - table).max() < 0.02
    assert (geometry.nnum, geometry.scanning, geometry.na) == (13, 3, 1.1)
    assert geometry.fine_pixel_um == pytest.approx(PIXEL)
    assert geometry.z_step_um == pytest.approx(0.3)
    assert geometry.magnification == pytest.approx(63)


def test_all_pages_are_reduced_to_the_published_order_and_negative_values_do_not_count() -> None:
    psf, table = made_psf(169, 3, 31)
    geometry = geometry_of_psf(psf, Grid.of("VZYX", psf.shape), "all")
    assert geometry.views == 49 and not geometry.measured
    inner = np.abs(table[list(VIEW_ORDERS[13])]).max(axis=(1, 2)) < 8
    assert np.abs(geometry.psf_shift - table[list(VIEW_ORDERS[13])])[inner].max() < 0.05
    spoilt = psf.copy()
    spoilt[:, :, :3] = -5.0
    again = geometry_of_psf(spoilt, Grid.of("VZYX", psf.shape), "all")
    assert np.abs(again.psf_shift - geometry.psf_shift)[inner].max() < 0.05


def test_as_many_planes_are_kept_below_focus_as_above() -> None:
    psf, table = made_psf(planes=7)
    geometry = geometry_of_psf(psf, psf_grid(psf.shape, first_um=-0.6), "off")
    assert geometry.planes == 5
    assert np.abs(geometry.psf_shift - table[:, :5]).max() < 0.02
    with pytest.raises(InputError, match="include the one in focus"):
        geometry_of_psf(psf, psf_grid(psf.shape, first_um=3.0), "off")


def test_other_numbers_of_views_are_refused() -> None:
    with pytest.raises(InputError, match="49, 169, 81, 225 views, found 7"):
        geometry_of_psf(np.ones((7, 3, 5, 5)), psf_grid((7, 3, 5, 5)), "fourier")


@pytest.mark.parametrize(
    ("pixel", "found"), [(PIXEL * 13 / 3, 13 / 3), (PIXEL * 13, 13), (PIXEL * 13 / 5, 13 / 5), (PIXEL, 1)]
)
def test_every_scan_is_recognised_exactly(pixel: float, found: float) -> None:
    assert pixels_per_view_pixel(field_of(pixel * 1.004), PIXEL, 49, "the PSF") == pytest.approx(found, abs=1e-12)


def test_a_fourier_light_field_has_pixels_of_a_whole_factor() -> None:
    assert pixels_per_view_pixel(field_of(0.3), 0.1497, 7, "the PSF") == 2
    with pytest.raises(InputError, match=r"by a whole factor, found a factor of 1\.667"):
        pixels_per_view_pixel(field_of(0.3), 0.18, 7, "the PSF")
    assert pixels_per_view_pixel(field_of(0.3), 0.18, 37, "the PSF") == pytest.approx(5 / 3)


def test_a_psf_of_another_magnification_is_named() -> None:
    psf, _ = made_psf()
    for magnification, said in ((20, "0.317 times"), (60, "0.952 times")):
        other = geometry_of_psf(psf, psf_grid(psf.shape, 100 / 13 / magnification), "other.tif")
        with pytest.raises(InputError, match=f"PSF other.tif should be of the data's magnification.*{said}") as caught:
            check_field(other, field_of(PIXEL * 13 / 3))
        assert "\n" not in str(caught.value)
    mine = geometry_of_psf(psf, psf_grid(psf.shape), "mine")
    check_field(mine, field_of(PIXEL * 13 / 3))
    check_field(mine, Grid.of("VYX", (49, 9, 9)))
    with pytest.raises(InputError, match="scanned 3 x 3 for this method"):
        check_field(mine, field_of(PIXEL * 13))


def test_the_pixel_size_tells_the_scan() -> None:
    named, psf = load_psf_shift("geometric-13"), made_psf()[0]
    mine = geometry_of_psf(psf, psf_grid(psf.shape), "mine")
    for geometry in (named, mine):
        for scan in (1, 3, 5, 13):
            assert scanned_as(geometry, field_of(PIXEL * 13 / scan)).scanning == scan
        assert scanned_as(geometry, Grid.of("VYX", (49, 9, 9))).scanning == 3
    assert scanned_as(named, field_of(0.9)).scanning == 3
    with pytest.raises(InputError, match="magnification"):
        scanned_as(mine, field_of(0.9))


def test_files_of_any_kind_name_the_same_optics(tmp_path: Path) -> None:
    import torch

    from napari_recon.engines.light_field_optics import load_optics

    psf, table = made_psf(planes=3, size=25)
    np.save(tmp_path / "psf.npy", psf)
    torch.save(torch.from_numpy(psf.transpose(0, 1, 3, 2).copy()), tmp_path / "psf.pt")
    np.save(tmp_path / "shift.npy", table)
    for name in ("psf.npy", "psf.pt", "shift.npy"):
        assert np.abs(load_optics(tmp_path / name).psf_shift - table).max() < 0.02, name
    assert load_optics("geometric-13").psf_shift.shape == load_psf_shift("geometric-13").psf_shift.shape
    with pytest.raises(InputError, match="psf_shift should be"):
        load_optics(tmp_path / "none.tif")
