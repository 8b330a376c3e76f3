"""The volumes of a sequence as one safetensors file that grows frame by frame: memory does not grow with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import CheckpointError

NAME = "voxels"
#: Bytes of the header: room for a card.
HEADER = 4096
Volume = NDArray[np.float32]


class VolumeFile:
    """Volumes (t, z, y, x), float32, under the name that a field of voxels has.

    Parameters
    ----------
    path : Path
        What lies there is gone on with when it has the same shape, and replaced otherwise.
    shape_tzyx : tuple of int
        For as many time points as there may be.
    """

    def __init__(self, path: Path, shape_tzyx: tuple[int, ...]) -> None:
        self.path, self.shape = path, shape_tzyx
        path.parent.mkdir(parents=True, exist_ok=True)
        self._first = 8 + HEADER
        if not path.exists() or self._start() != self._first:
            path.write_bytes(HEADER.to_bytes(8, "little").ljust(self._first))

    def beside(self, checkpoint: Path) -> VolumeFile:
        """Return the file of this name beside another run's checkpoint (CheckpointError when there is none)."""
        path = checkpoint.with_name(self.path.name)
        if not path.is_file():
            raise CheckpointError(
                f"{path} should lie beside the checkpoint and hold the finished volumes, found nothing; move it there"
            )
        return VolumeFile(path, self.shape)

    def __setitem__(self, frame: int, volume: Volume) -> None:
        with self.path.open("r+b") as file:
            file.seek(self._first + frame * self._bytes)
            file.write(np.ascontiguousarray(volume, "<f4").tobytes())

    def __getitem__(self, frame: int) -> Volume:
        count = self._bytes // 4
        with self.path.open("rb") as file:
            file.seek(self._first + frame * self._bytes)
            found = np.fromfile(file, "<f4", count)
        if len(found) != count:
            raise CheckpointError(
                f"{self.path} should hold the volumes of {frame + 1} finished time points, found fewer; start the fit anew"
            )
        return found.reshape(self.shape[1:])

    def finished(self, frames: int, card: dict[str, Any]) -> Path:
        """Make the file a whole one with so many time points, and return its path."""
        size = frames * self._bytes
        about = {"dtype": "F32", "shape": [frames, *self.shape[1:]], "data_offsets": [0, size]}
        text = json.dumps({"__metadata__": {"card": json.dumps(card)}, NAME: about}).encode()
        assert len(text) <= HEADER  # a card is some hundred bytes
        with self.path.open("r+b") as file:
            file.write(HEADER.to_bytes(8, "little") + text.ljust(HEADER))
            file.truncate(self._first + size)
        return self.path

    @property
    def _bytes(self) -> int:
        return 4 * int(np.prod(self.shape[1:], dtype=np.int64))

    def _start(self) -> int:
        with self.path.open("rb") as file:
            return 8 + int.from_bytes(file.read(8), "little")
