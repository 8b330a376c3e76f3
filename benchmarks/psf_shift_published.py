"""Centres of mass of our PSFs against the two published psf_shift files, whose microscopes their names describe in part.

    python benchmarks/psf_shift_published.py [FOLDER] [--save]

FOLDER holds the fixtures (default: $NAPARI_RECON_PARITY, else ../shared/parity, and in it ``serenet``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from lightfield_rl_quality import parity_folder
from recording import Row, save

from napari_recon.optics.lfm_microscope import LfmMicroscope
from napari_recon.optics.lfm_psf import lfm_psf
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS, centre_of_mass_shift, load_psf_shift

COMMAND = "python benchmarks/psf_shift_published.py --save"
NOTE = """Difference over all views and the named depths: root mean square relative to that of the published shifts, and the
largest. Both files leave something open: that of 63x does not say the medium's index, that of 20x not the pitch of its
lenslets (56.3 um fills the pupil; 56 um fits best)."""

#: Depths as planes from focus.
PLANES = (-50, -30, -10, -5, 5, 10, 30, 50)
MICROSCOPES = {
    "63x NA 1.4, Nnum 13, index 1.518 (oil)": LfmMicroscope(),
    "63x NA 1.4, Nnum 13, index 1.445 (fits best)": LfmMicroscope(medium_index=1.445),
    "20x NA 1.05, Nnum 15, index 1.406, pitch 56 um": LfmMicroscope(1.05, 20, 1.406, 0.525, 56, 15),
    "20x NA 1.05, Nnum 15, index 1.406, pitch 56.3 um, f 536.4 um": LfmMicroscope(1.05, 20, 1.406, 0.525, 56.3, 15, 536.4),
}
FILES = {13: "Ideal_PhazeSpacePSF_M63*", 15: "debye_integral*M20*"}


def main() -> None:
    """Compute the PSFs, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    folder = (options.folder or parity_folder()) / "upstream_weights" / "psf"
    rows: list[Row] = []
    for name, microscope in MICROSCOPES.items():
        published = load_psf_shift(next(folder.glob(FILES[microscope.nnum])))
        expected = published.psf_shift[:, [50 + plane for plane in PLANES]]
        pages, depths = VIEW_ORDERS[microscope.nnum], np.array(PLANES) * published.z_step_um
        radius = microscope.reach_pixels(pages, depths)
        images = lfm_psf(microscope, pages, depths.tolist(), radius)
        found = centre_of_mass_shift(np.stack([image.numpy() for _, image in images], axis=1))
        scale = float((found * expected).sum() / (found * found).sum())
        for title, shift in (("", found), (", one factor fitted", scale * found)):
            off = shift - expected
            relative = 100 * np.linalg.norm(off) / np.linalg.norm(expected)
            rows.append(Row(f"{name}: centres of mass, difference{title}", float(relative), "%"))
            rows.append(Row(f"{name}: largest difference{title}", float(np.abs(off).max()), "fine pixel"))
    for row in rows:
        print(f"{row.what:110s} {row.value:8.3g} {row.unit}")
    if options.save:
        save("psf_shift_published", rows, COMMAND, NOTE, {})


if __name__ == "__main__":
    main()
