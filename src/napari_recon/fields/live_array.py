"""A level of a field as an array: slices are lazy, whole numbers give values. NumPy's rules for both."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError

if TYPE_CHECKING:
    from napari_recon.fields.live import LiveField

LARGEST = 1 << 27
"""Values that may be asked for at once."""


class FieldArray:
    """Part of a level of a field.

    Slices alone give a smaller `FieldArray`; with a whole number in the index, or as ``numpy.asarray``, it gives values.

    Parameters
    ----------
    live : LiveField
    level : int
    part : tuple of (range or int), optional
        Along each axis of the level; an int is an axis that is gone.
    depth : int
        How often it was indexed. A viewer cuts what is seen out first and then takes the plane; all else is indexed once.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, live: LiveField, level: int, part: tuple[range | int, ...] | None = None, depth: int = 0) -> None:
        self._live, self.level, self._depth = live, level, depth
        self._part = part or tuple(range(n) for n in live.levels.shapes[level])

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples along each axis."""
        return tuple(len(each) for each in self._part if isinstance(each, range))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of samples."""
        return math.prod(self.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Sizes in which it is evaluated: viewers ask for whole ones, so that a small shift costs nothing."""
        from napari_recon.fields.live_store import TILE

        axes = self._live.levels.data.axes
        return tuple(TILE if axes[i] in "YX" else 1 for i, each in enumerate(self._part) if isinstance(each, range))

    @property
    def live(self) -> LiveField:
        """The field."""
        return self._live

    def __copy__(self) -> FieldArray:
        return self

    def __deepcopy__(self, memo: Any) -> FieldArray:
        return self  # a copied layer looks at the same field

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if any(map(_fancy, keys)):
            return np.asarray(self)[key]
        part, whole = self._cut(keys)
        cut = FieldArray(self._live, self.level, part, self._depth + 1)
        if not whole:
            return cut
        found = cut._values()
        return found[()] if not cut.shape else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if not self._depth and self._live.answers_at_once:
            raise InputError("pixels of a field that is looked at are only what is seen; export the part that is wanted")
        found = self._values()
        return np.array(found, dtype=dtype) if copy else np.asarray(found, dtype=dtype)

    def __repr__(self) -> str:
        density = ", ".join(f"{a.lower()} {k:g}" for a, k in self._live.levels.density(self.level).items())
        return f"<field on a lattice of shape {self.shape}; samples per data point: {density}>"

    def _cut(self, keys: tuple[Any, ...]) -> tuple[tuple[range | int, ...], bool]:
        """Return what an index leaves along each axis of the level, and whether a whole number is in it."""
        if sum(each is Ellipsis for each in keys) > 1:
            raise IndexError("an index can only have a single ellipsis ('...')")
        if len(keys) - (Ellipsis in keys) > self.ndim:
            raise IndexError(f"too many indices for array: array is {self.ndim}-dimensional, but {len(keys)} were indexed")
        at = next((i for i, each in enumerate(keys) if each is Ellipsis), len(keys))
        after = keys[at + 1 :]
        filled = iter([*keys[:at], *[slice(None)] * (self.ndim - at - len(after)), *after])
        part: list[range | int] = []
        whole = False
        for axis, own in enumerate(self._part):
            if isinstance(own, int):
                part.append(own)
                continue
            each = next(filled)
            if isinstance(each, slice):
                part.append(own[each])
            else:
                index, whole = operator.index(each), True
                if not -len(own) <= index < len(own):
                    raise IndexError(f"index {index} is out of bounds for axis {axis} with size {len(own)}")
                part.append(own[index])
        return tuple(part), whole

    def _values(self) -> NDArray[np.float32]:
        shape = self.shape
        if self.size > LARGEST:
            raise InputError(
                f"at most {LARGEST:,} values of a field are computed at once, found {self.size:,} ({shape}); export a part "
                "of it, or choose a coarser level"
            )
        if not self.size:
            return np.zeros(shape, np.float32)
        # negative steps are turned around afterwards
        ordered = tuple(each if isinstance(each, int) or each.step > 0 else each[::-1] for each in self._part)
        found = self._live.values(self.level, ordered, seen=self._depth > 1)
        back = tuple(0 if isinstance(each, int) else slice(None, None, 1 if each.step > 0 else -1) for each in self._part)
        return found[back]


def _fancy(key: Any) -> bool:
    """Return whether a key is one of NumPy's other ways of indexing."""
    return key is None or isinstance(key, bool | np.bool_ | list) or (isinstance(key, np.ndarray) and key.ndim > 0)
