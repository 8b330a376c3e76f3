"""Sample data that come with the package: simulated, small, with ground truth."""

from __future__ import annotations

from napari_recon.samples.cells import cells
from napari_recon.samples.files import names, path
from napari_recon.samples.flfm import flfm
from napari_recon.samples.light_sheet import dual_view, light_sheet
from napari_recon.samples.lightfield import light_field
from napari_recon.samples.moving_cells import moving_cells
from napari_recon.samples.sim import sim

__all__ = ["cells", "dual_view", "flfm", "light_field", "light_sheet", "moving_cells", "names", "path", "sim"]
