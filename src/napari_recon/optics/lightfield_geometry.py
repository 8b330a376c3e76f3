"""Light-field geometry: which views a stack holds, and where a point at depth z appears in each of them. numpy only.

Conventions (Lu, Jin, Chen et al., Nature Methods 2025, doi 10.1038/s41592-025-02698-z): page ``u * Nnum + v`` of a
realigned stack is the view at angular row ``u`` and column ``v``. A point at depth z and position (y, x) appears in view
c at ``(y, x) + psf_shift[c, z]``; the last axis of a psf_shift is (y, x) and its unit is the fine pixel, i.e. one
``Nnum``-th of a microlens in the sample.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.optics.tensor_file import read_tensor


def _pages(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split())


VIEW_ORDERS: dict[int, tuple[int, ...]] = {
    13: _pages(
        "84 85 98 97 96 83 70 71 72 73 86 99 112 111 110 109 108 95 82 69 56 57 58 59 60 61 74 87 100 113 125 "
        "124 123 122 121 107 94 81 68 55 43 44 45 46 47 88 136 80 32"
    ),
    15: _pages(
        "112 113 128 127 126 111 96 97 98 99 114 129 144 143 142 141 140 125 110 95 80 81 82 83 84 85 100 115 "
        "130 145 160 159 158 157 156 155 154 139 124 109 94 79 64 65 66 67 68 69 70 71 86 101 116 131 146 161 "
        "175 174 173 172 171 170 169 153 138 123 108 93 78 63 49 50 51 52 53 54 55 117 187 107 37"
    ),
}
"""Nnum -> pages in the channel order of the networks: an outward spiral from the centre, then four axial extremes."""

MICROMETERS = {"micrometer", "micrometre", "um", "\N{MICRO SIGN}m", "micron"}
"""Names of the unit that the z steps and pixels here are in."""

_NNUM_OF_VIEWS = {len(order): nnum for nnum, order in VIEW_ORDERS.items()}


@dataclass(frozen=True, eq=False)
class LightFieldGeometry:
    """A microscope as the light-field engines see it.

    Attributes
    ----------
    name : str
        Named id or file it came from.
    nnum : int
        Camera pixels per microlens and axis.
    scanning : int
        Scan steps per axis (3 for scanned light fields, 1 for plain ones).
    fine_pixel_um : float
        Lateral pitch of the reconstructed volume.
    z_step_um : float
        Distance of neighbouring planes.
    na, magnification : float
    psf_shift : numpy.ndarray
        float32, shape (views, planes, 2), (y, x) shift in fine pixels; plane ``planes // 2`` is in focus.
    pages : tuple of int
        Pages ``u * nnum + v`` of the rows of `psf_shift`; empty for the published order of that many views.
    measured : bool
        Whether `fine_pixel_um` was read from a PSF, so that data of another magnification can be told.
    """

    name: str
    nnum: int
    scanning: int
    fine_pixel_um: float
    z_step_um: float
    na: float
    magnification: float
    psf_shift: NDArray[np.float32]
    pages: tuple[int, ...] = ()
    measured: bool = False

    @property
    def upsampling(self) -> float:
        """Fine pixels per light-field pixel (S)."""
        return self.nnum / self.scanning

    @property
    def views(self) -> int:
        """Number of views in use."""
        return int(self.psf_shift.shape[0])

    @property
    def planes(self) -> int:
        """Number of planes."""
        return int(self.psf_shift.shape[1])

    @property
    def view_order(self) -> tuple[int, ...]:
        """Pages of a full stack in the order of `psf_shift`'s rows."""
        return self.pages or view_order(self.views, self.nnum)

    def page_indices(self, pages: int) -> tuple[int, ...]:
        """Return which pages of a stack of `pages` are the views in use; see the function of this name."""
        return _in_stack(pages, self.view_order, self.nnum)

    def select(self, vyx: NDArray[Any]) -> NDArray[Any]:
        """Return the views in use of a stack, in the order of `psf_shift`'s rows."""
        pages = self.page_indices(vyx.shape[0])
        return vyx if pages == tuple(range(vyx.shape[0])) else vyx[list(pages)]

    def contract(self) -> dict[str, Any]:
        """Return everything as JSON, for the card of a model; `geometry_of` reads it back."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in _SCALARS}
        shift = np.round(self.psf_shift.astype(np.float64), 3)
        return {**fields, "pages": list(self.view_order), "psf_shift": shift.tolist()}

    def with_planes(self, planes: int) -> LightFieldGeometry:
        """Return this geometry cut to its central planes; 0 keeps all (see `centre_planes`)."""
        return self if planes == 0 else replace(self, psf_shift=centre_planes(self.psf_shift, planes))

    def volume_of(self, field: Grid) -> Grid:
        """Return the grid of the volume of a light field; see `volume_grid`."""
        return volume_grid(field, self.upsampling, self.planes, self.z_step_um, self.fine_pixel_um)

    def volume_yx(self, h: int, w: int) -> tuple[int, int]:
        """Return the lateral size in fine pixels of the volume of ``h x w`` light-field pixels."""
        return round(h * self.upsampling), round(w * self.upsampling)


_SCALARS = ("name", "nnum", "scanning", "fine_pixel_um", "z_step_um", "na", "magnification")

_MICROSCOPES: dict[int, dict[str, float]] = {
    13: {"z_step_um": 0.2, "magnification": 63.0, "na": 1.4, "pitch_um": 100.0},
    15: {"z_step_um": 0.6, "magnification": 20.0, "na": 1.05, "pitch_um": 56.0},
}
MEDIUM_INDEX = 1.406
GEOMETRY_IDS = tuple(f"geometric-{nnum}" for nnum in _MICROSCOPES)
"""Names `load_psf_shift` accepts besides files."""


def view_order(views: int, nnum: int | None = None) -> tuple[int, ...]:
    """Return the page numbers of `views` views in network order (all ``nnum**2`` views are in page order).

    Raises
    ------
    InputError
        When no order is known for that many views.
    """
    if nnum is not None and views == nnum * nnum:
        return tuple(range(views))
    if views in _NNUM_OF_VIEWS and nnum in (None, _NNUM_OF_VIEWS[views]):
        return VIEW_ORDERS[_NNUM_OF_VIEWS[views]]
    known = " or ".join(f"{v} (Nnum {n})" for v, n in _NNUM_OF_VIEWS.items())
    raise InputError(f"the number of views should be {known}, found {views}; choose a matching model or psf_shift file")


def page_indices(pages: int, views: int, nnum: int | None = None) -> tuple[int, ...]:
    """Return which pages of a stack are the `views` network views, in network order.

    Parameters
    ----------
    pages : int
        Length of the stack's view axis: all ``Nnum**2`` pages, or exactly `views` pages that are already in order.
    views : int
    nnum : int, optional
        Default: the one whose published order has that many views.

    Raises
    ------
    InputError
        For any other number of pages.
    """
    if pages == views:
        return tuple(range(views))
    return _in_stack(pages, view_order(views, nnum), nnum or _NNUM_OF_VIEWS[views])


def _in_stack(pages: int, order: tuple[int, ...], nnum: int) -> tuple[int, ...]:
    views = len(order)
    if pages == views:
        return tuple(range(views))
    if pages != nnum * nnum:
        raise InputError(
            f"the light field should have {nnum * nnum} views (all of Nnum {nnum}) or the {views} views in use, found "
            f"{pages}; realign it to one page per view, or choose a model and psf_shift for its Nnum"
        )
    return order


def geometric_psf_shift(
    nnum: int = 13,
    planes: int = 101,
    z_step_um: float = 0.2,
    magnification: float = 63.0,
    na: float = 1.4,
    pitch_um: float = 100.0,
    views: Sequence[int] | None = None,
    medium_index: float | None = None,
) -> NDArray[np.float32]:
    """Return the ray-optics psf_shift of a microscope.

    Parameters
    ----------
    nnum, planes : int
        Camera pixels per microlens; number of planes, the focus being ``planes // 2``.
    z_step_um, magnification, na, pitch_um : float
        Plane distance, magnification onto the microlenses, numerical aperture, microlens pitch.
    views : sequence of int, optional
        Pages ``u * nnum + v`` of the rows; default all ``nnum**2``. The published orders are in `VIEW_ORDERS`.
    medium_index : float, optional
        Refractive index at the sample: the ray of a view then leaves at ``asin(NA rho / index)`` (Abbe sine condition).
        Default None is the paraxial fallback of the authors, ``shift = 2 NA u z M^2 / sqrt(M^2 - NA^2) / pitch``.

    Returns
    -------
    numpy.ndarray
        float32 (views, planes, 2): (y, x) shift in fine pixels; row u moves y and column v moves x, both with the sign
        of z.

    Notes
    -----
    Against the published wave-optics file of Nnum 13 (49 views, 101 planes) sign and (y, x) order are the same. The
    paraxial rule is 10-28 % too large per view (best common factor 0.821, correlation 0.998). The sine condition with
    index 1.406 is within 0.5 % (relative RMS), at most 0.43 fine pixel off. With the parameters of ``geometric-15`` it
    is within 0.3 % of the published Nnum 15 file (81 views), at most 0.66 fine pixel off; pitch over magnification was
    fitted to that file.
    """
    pages = np.arange(nnum * nnum) if views is None else np.asarray(views)
    angular = np.stack([pages // nnum, pages % nnum], axis=-1) - nnum // 2
    z_um = (np.arange(planes) - planes // 2) * z_step_um
    if medium_index is None:
        slope = np.full(len(pages), 2 * na * magnification / math.sqrt(magnification**2 - na**2) / nnum)
    else:
        radius = np.hypot(angular[:, 0], angular[:, 1])
        sine = 2 * na * radius / nnum / medium_index
        beyond = sine >= 1  # corner views outside the pupil: keep the steepest ray that exists
        sine = np.where(beyond, np.max(sine, where=~beyond, initial=0.0), sine)
        tangent = sine / np.sqrt(1 - sine**2)
        slope = np.divide(tangent, radius, out=np.zeros(len(pages)), where=radius > 0)
    fine_pixel_um = pitch_um / nnum / magnification
    shift = (angular * slope[:, None])[:, None, :] * z_um[None, :, None] / fine_pixel_um
    return np.asarray(shift, dtype=np.float32)


def centre_planes(shift: NDArray[np.float32], planes: int) -> NDArray[np.float32]:
    """Return the `planes` central planes of a psf_shift, shape (views, planes, 2).

    Raises
    ------
    InputError
        `planes` is even, or more than there are.
    """
    found = shift.shape[1]
    if planes % 2 == 0 or not 1 <= planes <= found:
        raise InputError(
            f"planes should be an odd number up to {found} (the depth of the psf_shift), found {planes}; "
            f"choose {min(max(planes - 1, 1), found - 1 + found % 2)} for example"
        )
    first = found // 2 - planes // 2
    return shift[:, first : first + planes]


def centre_of_mass_shift(psf_vzyx: NDArray[Any]) -> NDArray[np.float32]:
    """Return the psf_shift of a phase-space PSF: its intensity centre of mass per view and plane.

    Parameters
    ----------
    psf_vzyx : numpy.ndarray
        Shape (views, planes, H, W), sampled in fine pixels.

    Returns
    -------
    numpy.ndarray
        float32 (views, planes, 2), relative to the centre ``((H - 1) / 2, (W - 1) / 2)``.
    """
    psf = np.asarray(psf_vzyx, dtype=np.float64)
    total = psf.sum(axis=(-2, -1)) + 1e-9
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in psf.shape[-2:])
    moments = [np.einsum("vzyx,y->vz", psf, rows), np.einsum("vzyx,x->vz", psf, columns)]
    return np.asarray(np.stack(moments, axis=-1) / total[..., None], dtype=np.float32)


def volume_grid(field: Grid, upsampling: float, planes: int, z_step_um: float, fine_pixel_um: float) -> Grid:
    """Return the grid (ZYX) of the volume of a light field: the same lateral extent, focus at z = 0.

    Without a calibrated field the z step is given in the field's own unit, so that the proportions are right.
    """
    unit = field.unit("Y")
    fine = field.only("YX").resampled({axis: max(1, round(field.size(axis) * upsampling)) for axis in "YX"})
    step = z_step_um if unit in MICROMETERS else z_step_um / fine_pixel_um * abs(fine.step("Y"))
    return Grid.of("Z", (planes,), {"Z": step}, {"Z": -(planes // 2) * step}, {"Z": unit}).joined(fine)


def load_psf_shift(path_or_id: str | Path) -> LightFieldGeometry:
    """Return the geometry of a named microscope or of a psf_shift file.

    Parameters
    ----------
    path_or_id : str or Path
        ``geometric-13`` or ``geometric-15`` (see `geometric_psf_shift`), or a ``.pt``, ``.npy`` or ``.npz`` file with
        one array of shape (views, planes, 2) in network order, or (Nnum**2, planes, 2) in page order, which is then
        reduced to the published order. Values in fine pixels, (y, x).

    Returns
    -------
    LightFieldGeometry
        Optics that the file does not hold are those of the named microscope with the same Nnum; ``M..``, ``NA..`` and
        ``zspacing..u`` in the file name, as the authors write them, are believed.

    Raises
    ------
    InputError
        Unknown name, missing or unreadable file, or an array of another shape.
    """
    name = str(path_or_id)
    if name in GEOMETRY_IDS:
        return named_geometry(int(name.rpartition("-")[2]))
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError(
            f"psf_shift should be {', '.join(GEOMETRY_IDS)} or an existing file, found {name!r}; check the path"
        )
    return geometry_of_table(read_array(path), path.name)


def geometry_of(contract: Mapping[str, Any]) -> LightFieldGeometry:
    """Return the geometry that `LightFieldGeometry.contract` wrote.

    Raises
    ------
    InputError
        Something is missing or does not fit together.
    """
    try:
        shift = np.asarray(contract["psf_shift"], dtype=np.float32)
        pages = tuple(int(page) for page in contract["pages"])
        geometry = LightFieldGeometry(**{n: contract[n] for n in _SCALARS}, psf_shift=shift, pages=pages)
        fits = shift.ndim == 3 and shift.shape[::2] == (len(pages), 2) and np.isfinite(shift).all()
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"a model's microscope should be complete, found a part of it ({error}); train it again") from None
    if not fits:
        raise InputError(
            f"a model's microscope should have a finite psf_shift of (views, planes, 2) and a page per view, found "
            f"{shift.shape} and {len(pages)} pages; train it again"
        )
    return geometry


def named_geometry(nnum: int) -> LightFieldGeometry:
    """Return the geometry ``geometric-NNUM``."""
    optics = _MICROSCOPES[nnum]
    shift = geometric_psf_shift(nnum, 101, views=VIEW_ORDERS[nnum], medium_index=MEDIUM_INDEX, **optics)
    return LightFieldGeometry(
        name=f"geometric-{nnum}",
        nnum=nnum,
        scanning=3,
        fine_pixel_um=optics["pitch_um"] / nnum / optics["magnification"],
        z_step_um=optics["z_step_um"],
        na=optics["na"],
        magnification=optics["magnification"],
        psf_shift=shift,
    )


def read_array(path: Path) -> NDArray[Any]:
    """Return the one array of a ``.pt``, ``.npy`` or ``.npz`` file.

    Raises
    ------
    InputError
        An unreadable file, or one that holds something else.
    """
    try:
        if path.suffix in (".pt", ".pth"):
            return read_tensor(path)
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            names = [n for n in ("psf_shift", "psfshift", "shift") if n in found] or list(found.files)[:1]
            return np.asarray(found[names[0]])
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"psf_shift file {path.name} should hold one plain array in .pt, .npy or .npz ({reason}); save it again"
        ) from None


NNUMS = {n: k for k, order in VIEW_ORDERS.items() for n in (len(order), k * k)}
"""Number of views -> Nnum, for the published orders and for all pages."""


def geometry_of_table(array: NDArray[Any], file_name: str) -> LightFieldGeometry:
    """Return the geometry of a psf_shift table; see `load_psf_shift`.

    Raises
    ------
    InputError
        Another shape; values that are not finite.
    """
    if array.ndim != 3 or array.shape[-1] != 2 or array.shape[0] not in NNUMS or array.dtype.kind not in "fiu":
        expected = ", ".join(str(n) for n in NNUMS)
        raise InputError(
            f"psf_shift file {file_name} should have shape (views, planes, 2) with {expected} views, found "
            f"{array.shape}; choose the file that belongs to the model"
        )
    shift = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(shift).all():
        raise InputError(f"psf_shift file {file_name} should hold finite numbers, found NaN or infinite; export it again")
    nnum = NNUMS[shift.shape[0]]
    if shift.shape[0] == nnum * nnum:
        shift = shift[list(VIEW_ORDERS[nnum])]
    like = named_geometry(nnum)
    told = {key: re.search(pattern, file_name) for key, pattern in _IN_NAMES.items()}
    optics = {key: float(match[1]) if match else getattr(like, key) for key, match in told.items()}
    return LightFieldGeometry(
        name=file_name,
        nnum=nnum,
        scanning=like.scanning,
        fine_pixel_um=like.fine_pixel_um * like.magnification / optics["magnification"],
        z_step_um=optics["z_step_um"],
        na=optics["na"],
        magnification=optics["magnification"],
        psf_shift=shift,
    )


_IN_NAMES = {
    "magnification": r"_M(\d+(?:\.\d+)?)(?=_)",
    "na": r"_NA(\d+(?:\.\d+)?)(?=_)",
    "z_step_um": r"_zspacing(\d+(?:\.\d+)?)u",
}
