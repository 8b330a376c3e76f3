"""The microscope's numbers come from parameters or the file, and nonsense gets a sentence."""

from __future__ import annotations

import pytest

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.params import make_params
from napari_recon.core.plan import InputRef
from napari_recon.engines.sim.params import OpticsParams, resolved_optics

UM = {"Y": "micrometer", "X": "micrometer"}


def ref(pixel: float | None = 0.06, **optics: tuple[float, ...]) -> InputRef:
    size = {} if pixel is None else {"scale": {"Y": pixel, "X": pixel}, "units": UM}
    return InputRef(name="raw", grid=Grid.of("NYX", (9, 32, 32), **size), optics=optics)


def resolved(which: InputRef, channel: int = 0, **params: float):
    return resolved_optics(make_params(OpticsParams, params, "sim"), which, channel)


def test_the_file_says_what_the_parameters_leave_open() -> None:
    told = ref(na=(1.4,), wavelength_um=(0.525, 0.61))
    assert resolved(told).wavelength_um == 0.525
    assert resolved(told, channel=1).wavelength_um == 0.61
    assert resolved(told, na=1.2).na == 1.2


@pytest.mark.parametrize(
    ("which", "params", "words"),
    [
        (ref(), {"wavelength_um": 0.525}, "na=1.4"),
        (ref(), {"na": 1.4}, "wavelength_um=0.525"),
        (ref(), {"na": 1.4, "wavelength_um": 525}, "wavelength_um=0.525"),
        (ref(), {"na": 1.6, "wavelength_um": 0.525}, "refractive"),
        (ref(0.2), {"na": 1.4, "wavelength_um": 0.525}, "at most 0.09375 um"),
        (ref(None), {"na": 1.4, "wavelength_um": 0.525}, "--voxel-size"),
    ],
)
def test_nonsense_gets_one_sentence(which: InputRef, params: dict[str, float], words: str) -> None:
    with pytest.raises(InputError) as error:
        resolved(which, **params)
    assert words in str(error.value)


def test_a_high_index_immersion_admits_a_high_na() -> None:
    assert resolved(ref(0.05), na=1.65, wavelength_um=0.525, refractive_index=1.78).na == 1.65


def test_a_hexagonal_pattern_has_seven_frames_and_an_order_may_name_the_image_axes() -> None:
    assert make_params(OpticsParams, {"pattern": "hexagonal"}, "sim").layout == (1, 7, "hexagonal")
    assert make_params(OpticsParams, {"frame_order": "PAZYX"}, "sim").frame_order == "paz"
