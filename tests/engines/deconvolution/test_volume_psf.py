"""PSFs of volumes: Gaussian, light sheet, resampled, trimmed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.plan import InputRef
from napari_recon.engines.deconvolution.rl_params import RLParams
from napari_recon.engines.deconvolution.volumes.psf import measured, modelled, resampled, trimmed
from napari_recon.optics.light_sheet import FWHM, gaussian_psf, light_sheet_psf

STEP = (0.1, 0.1, 0.1)
DATA = Grid.of("ZYX", (20, 30, 30), dict.fromkeys("ZYX", 0.1), units=dict.fromkeys("ZYX", "micrometer"))
REF = InputRef(name="views", grid=DATA)


def _width(profile: np.ndarray, step: float) -> float:
    """Full width at half maximum along a line, by linear interpolation."""
    half, middle = profile.max() / 2, int(profile.argmax())
    right = next(n for n in range(middle, len(profile)) if profile[n] < half)
    left = next(n for n in range(middle, -1, -1) if profile[n] < half)
    edges = [
        right - (half - profile[right]) / (profile[right - 1] - profile[right]),
        left + (half - profile[left]) / (profile[left + 1] - profile[left]),
    ]
    return float((edges[0] - edges[1]) * step)


def _spread(psf: np.ndarray, direction: tuple[float, float]) -> float:
    """Standard deviation along a direction (z, x) in voxels."""
    z, x = (np.arange(n) - n // 2 for n in (psf.shape[0], psf.shape[2]))
    place = direction[0] * z[:, None, None] + direction[1] * x
    return float(np.sqrt((psf * place**2).sum() / psf.sum()))


@pytest.mark.parametrize("angle", [0.0, 30.8, -30.8])
def test_a_gaussian_has_its_widths_along_its_axis(angle: float) -> None:
    psf = gaussian_psf(0.3, 0.9, STEP, angle)
    tilt = np.radians(angle)
    assert psf.sum() == pytest.approx(1) and all(n % 2 for n in psf.shape)
    assert _spread(psf, (np.cos(tilt), np.sin(tilt))) * 0.1 * FWHM == pytest.approx(0.9, rel=0.02)
    assert _spread(psf, (-np.sin(tilt), np.cos(tilt))) * 0.1 * FWHM == pytest.approx(0.3, rel=0.02)


def test_a_light_sheet_cuts_the_detection_to_its_own_width() -> None:
    fine = (0.08, 0.05, 0.05)
    thick, thin = (light_sheet_psf(0.8, 0.525, 1.33, width, fine) for width in (8.0, 0.6))
    across = thick[thick.shape[0] // 2, thick.shape[1] // 2]
    assert _width(across, 0.05) == pytest.approx(0.51 * 0.525 / 0.8, rel=0.08)
    along = thick[:, thick.shape[1] // 2, thick.shape[2] // 2]
    assert _width(along, 0.08) == pytest.approx(0.88 * 0.525 / (1.33 - np.sqrt(1.33**2 - 0.8**2)), rel=0.1)
    assert _width(thin[:, thin.shape[1] // 2, thin.shape[2] // 2], 0.08) < 0.6
    assert thin.sum() == pytest.approx(1, rel=1e-5) and thin.min() >= 0


def test_a_tilted_light_sheet_is_the_same_one_turned() -> None:
    straight = light_sheet_psf(1.0, 0.525, 1.33, 0.8, STEP)
    turned = light_sheet_psf(1.0, 0.525, 1.33, 0.8, STEP, 90.0)
    middle = [n // 2 for n in straight.shape]
    other = [n // 2 for n in turned.shape]
    one = straight[middle[0] - 6 : middle[0] + 7, middle[1], middle[2]]
    two = turned[other[0], other[1], other[2] - 6 : other[2] + 7]
    np.testing.assert_allclose(one / one.max(), two / two.max(), atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(0.4, 3.0), axis=st.integers(0, 2))
def test_resampling_keeps_middle_and_width(factor: float, axis: int) -> None:
    psf = gaussian_psf(0.9, 0.9, STEP)
    factors = [factor if k == axis else 1.0 for k in range(3)]
    found = resampled(psf, factors)
    others = tuple(k for k in range(3) if k != axis)
    profile = found.sum(axis=others) / found.sum()
    place = (np.arange(len(profile)) - len(profile) // 2) * factor
    assert abs(float(profile @ place)) < 0.02
    sigma = 0.9 / FWHM / 0.1
    assert np.sqrt(profile @ place**2) == pytest.approx(sigma, rel=0.12)


@settings(max_examples=25, deadline=None)
@given(pads=st.tuples(*[st.integers(0, 5)] * 6), field=st.tuples(*[st.integers(2, 40)] * 3))
def test_trimming_keeps_the_origin_and_the_light(pads: tuple[int, ...], field: tuple[int, int, int]) -> None:
    psf = np.zeros((11, 11, 11), np.float32)
    psf[5, 5, 5], psf[5, 5, 8], psf[2, 5, 5] = 0.5, 0.3, 0.2
    around = [(max(a, b), max(a, b)) for a, b in zip(pads[::2], pads[1::2], strict=True)]
    found, beyond = trimmed(np.pad(psf, around), field)
    assert all(n % 2 for n in found.shape) and all(n <= 2 * f - 1 for n, f in zip(found.shape, field, strict=True))
    assert found[tuple(n // 2 for n in found.shape)] >= 0.5
    assert found.sum() == pytest.approx(1 - beyond, rel=1e-4)
    assert (beyond > 0) == (field[2] < 4 or field[0] < 4)


def test_an_even_psf_has_its_origin_right_of_the_middle() -> None:
    psf = np.zeros((8, 8, 8), np.float32)
    psf[4, 4, 4] = 1
    assert trimmed(psf, (20, 20, 20))[0].shape == (1, 1, 1)
    assert measured(psf, DATA, DATA, 1)[1] == []


def test_planes_take_the_middle_plane_of_a_psf() -> None:
    flat = Grid.of("YX", (30, 30), dict.fromkeys("YX", 0.1), units=dict.fromkeys("YX", "micrometer"))
    own = Grid.of("ZYX", (9, 9, 9), {"Z": 0.3, "Y": 0.1, "X": 0.1}, units=dict.fromkeys("ZYX", "micrometer"))
    psf = gaussian_psf(0.25, 0.5, STEP)[4:-4, 1:-1, 1:-1]
    found, said = measured(psf, own, flat, 1)
    assert found.shape == (1, *psf.shape[1:]) and found.sum() == pytest.approx(1, rel=1e-5)
    assert any("middle plane" in sentence for sentence in said) and not any("resampled" in sentence for sentence in said)


def test_models_say_what_they_miss() -> None:
    with pytest.raises(InputError, match="psf_fwhm_um"):
        modelled(RLParams(), 1, DATA, REF)
    with pytest.raises(InputError, match="needs na"):
        modelled(RLParams(psf_model="light-sheet"), 1, DATA, REF)
    with pytest.raises(InputError, match="one for each of the 3 views"):
        modelled(RLParams(psf_fwhm_um=0.3, psf_angle_deg=(1.0, 2.0)), 3, DATA, REF)
    with pytest.raises(InputError, match="refractive index"):
        modelled(RLParams(psf_model="light-sheet", na=1.4, wavelength_um=0.5, refractive_index=1.33), 1, DATA, REF)
    known = REF.model_copy(update={"optics": {"na": (1.0,), "wavelength_um": (0.525,)}})
    assert len(modelled(RLParams(psf_model="light-sheet", psf_angle_deg=(30.0, -30.0)), 2, DATA, known)) == 2


def test_widefield_and_confocal_need_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "psfmodels", None)
    with pytest.raises(InputError, match="pip install psfmodels"):
        modelled(RLParams(psf_model="widefield", na=1.0, wavelength_um=0.525), 1, DATA, REF)


def test_widefield_and_confocal_by_psfmodels() -> None:
    pytest.importorskip("psfmodels", reason="psfmodels is an optional extra")
    wide, confocal = (
        modelled(RLParams(psf_model=model, na=1.0, wavelength_um=0.525), 1, DATA, REF)[0]
        for model in ("widefield", "confocal")
    )
    for psf in (wide, confocal):
        assert psf.sum() == pytest.approx(1, rel=1e-5) and np.unravel_index(psf.argmax(), psf.shape) == tuple(
            n // 2 for n in psf.shape
        )
    assert confocal.max() > 2 * wide.max()
    with pytest.raises(InputError, match="along z"):
        modelled(RLParams(psf_model="widefield", na=1.0, wavelength_um=0.525, psf_angle_deg=(5.0,)), 1, DATA, REF)
