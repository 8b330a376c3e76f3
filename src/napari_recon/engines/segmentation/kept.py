"""Membranes that are remembered while somebody edits nuclei: these change more often than the stack. No scipy."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
MOST_BYTES = 2**29


class Kept:
    """The latest arrays of at most `most_bytes`, for as long as somebody wants them."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._users = 0
        self._arrays: OrderedDict[Hashable, Array] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """What is kept now."""
        with self._lock:
            return sum(array.nbytes for array in self._arrays.values())

    def begin(self) -> None:
        """Remember from now on; every one who begins ends."""
        with self._lock:
            self._users += 1

    def end(self) -> None:
        """Forget everything once nobody is left."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._arrays.clear()

    def room(self, nbytes: float, count: int) -> int:
        """Return the bytes that `count` arrays of so many bytes take, or those that are kept already."""
        return max(self.nbytes, int(min(self.most_bytes, count * nbytes))) if self._users else 0

    def get(self, key: Hashable, made: Callable[[], Array]) -> Array:
        """Return an array, made if it is not remembered; it can't be written to."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        found = made()
        found.setflags(write=False)
        with self._lock:
            if self._users and found.nbytes <= self.most_bytes:
                self._arrays[key] = found
                while sum(array.nbytes for array in self._arrays.values()) > self.most_bytes:
                    self._arrays.popitem(last=False)
        return found


MEMBRANES = Kept()
