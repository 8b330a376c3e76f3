"""Where each output and artifact of a run goes, decided and checked before the run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from napari_recon.core.errors import DiskFull, InputError
from napari_recon.core.plan import Plan
from napari_recon.io import check_writable, output_path

MODEL_SUFFIXES = (".safetensors", ".pt", ".pth")


class Names:
    """File names of one run.

    Parameters
    ----------
    out : str or Path
        ``FILE`` names the first output (others are ``FILE-stem.NAME.ext``); a folder holds ``NAME.ext`` of each.
    plan : Plan
    only_model : bool
        `out` names the model.
    """

    def __init__(self, out: str | Path, plan: Plan, only_model: bool = False) -> None:
        # Path() drops the trailing slash that says "folder"
        self._out, self._plan, self._only_model = str(out), plan, only_model
        self._folder = str(out).endswith(("/", os.sep))
        if self._folder:
            make_folder(Path(out))

    def output(self, name: str) -> Path:
        """Return the path of voxel output `name`."""
        first = bool(self._plan.outputs) and name == self._plan.outputs[0].name
        return output_path(self._out, name, first)

    def artifact(self, name: str, suffix: str) -> Path:
        """Return the path of artifact `name`; a model is `out` itself when that is what was asked for."""
        model = self._only_model and suffix in MODEL_SUFFIXES
        return output_path(self._out, name, first=model, default_ext=suffix)

    def check(self) -> None:
        """Check that everything can be written; missing folders are made.

        Raises
        ------
        InputError
            An unknown file type, or a place that may not be written to.
        DiskFull
            Less free space than the outputs need.
        """
        if self._only_model:
            target = self.artifact("model", ".safetensors")
            if target.suffix not in MODEL_SUFFIXES:
                raise InputError(
                    f"a model should be written as {' '.join(MODEL_SUFFIXES)}, found {target.name!r}; change the file name"
                )
            check_file(target)
            return
        for spec in self._plan.outputs:
            if self.output(spec.name).suffix in MODEL_SUFFIXES:
                raise InputError(
                    f"run writes images, found {self.output(spec.name).name!r}, which is named like a model; "
                    "use train to write the model, or name an image file"
                )
            self._check_no_input(self.output(spec.name))
            check_writable(self.output(spec.name))
        self._check_space()

    def _check_no_input(self, target: Path) -> None:
        sources = [Path(ref.uri.split("::")[0]) for ref in self._plan.inputs if ref.uri]
        if target.exists() and any(s.exists() and target.samefile(s) for s in sources):
            raise InputError(f"the result should not take the place of its own input {target}; choose another name")

    def _check_space(self) -> None:
        needed = sum(int(np.prod(s.grid.shape)) * np.dtype(s.dtype).itemsize for s in self._plan.outputs)
        if not needed:
            return
        target = self.output(self._plan.outputs[0].name)
        free = shutil.disk_usage(target.parent).free
        # zarr chunks are compressed as they come, so only running out tells
        if needed > free and not target.name.endswith(".zarr"):
            raise DiskFull(
                f"the result needs {size_text(needed)}, but {target.parent} has {size_text(free)} free; "
                "free some, choose a smaller region or write elsewhere"
            )


def check_file(path: Path) -> None:
    """Check that a small file can be written at `path`; missing folders are made (InputError otherwise)."""
    make_folder(path.parent)
    if path.is_dir():
        raise InputError(f"{path} should be a file to write, found a folder; add a file name")
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise InputError(f"{path} can't be written ({error.strerror}); choose a place you may write to") from None
    if not existed:
        path.unlink()


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents (InputError when that is not possible)."""
    try:
        folder.expanduser().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file is in the way" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise InputError(f"the folder {folder} can't be made ({reason}); choose another place") from None


def size_text(count: float) -> str:
    """Return ``"1.2 GB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
