"""OME-XML's objective and channels become na, refractive_index and wavelength_um."""

from __future__ import annotations

import numpy as np
import tifffile

from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack
from napari_recon.io.ome_optics import ome_optics

XML = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Instrument ID="Instrument:0"><Objective ID="Objective:0" LensNA="0.8"/>
<Objective ID="Objective:1" LensNA="1.49"/></Instrument>
<Image ID="Image:0"><ObjectiveSettings ID="Objective:1" RefractiveIndex="1.515"/><Pixels>
<Channel ID="Channel:0:0" EmissionWavelength="525"/>
<Channel ID="Channel:0:1" EmissionWavelength="0.61" EmissionWavelengthUnit="um"/></Pixels></Image></OME>"""


def test_the_objective_in_use_and_every_channel() -> None:
    assert ome_optics(XML) == {"na": (1.49,), "refractive_index": (1.515,), "wavelength_um": (0.525, 0.61)}


def test_a_channel_without_a_wavelength_leaves_it_open() -> None:
    assert "wavelength_um" not in ome_optics(XML.replace('EmissionWavelength="525"', ""))


def test_a_file_carries_it_into_the_stack(tmp_path) -> None:
    path = tmp_path / "raw.ome.tif"
    pixels = np.zeros((2, 8, 8), np.uint16)
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "Channel": {"EmissionWavelength": [525, 610]}})
    stack = open_stack(path)
    assert isinstance(stack, ImageStack) and stack.metadata["optics"]["wavelength_um"] == (0.525, 0.61)
