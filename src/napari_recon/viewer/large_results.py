"""Where a result is collected: in memory, or in an OME-Zarr when it is asked for or too large."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec, Plan
from napari_recon.hub.card import cache_folder
from napari_recon.viewer import preferences
from napari_recon.viewer.buffers import OutputBuffer, too_large

if TYPE_CHECKING:
    from napari_recon.viewer.job import Job

SUFFIX = ".ome.zarr"


def buffer_for(job: Job, plan: Plan, spec: OutputSpec, parent: Grid | None) -> OutputBuffer:
    """Return what collects an output of a job (called in the worker thread).

    Raises
    ------
    InputError, DiskFull
        When the file can't be written.
    """
    if job.preview:
        return OutputBuffer(spec, parent)
    if job.out:
        from napari_recon.jobs.names import Names

        return OutputBuffer(spec, parent, Names(job.out, plan).output(spec.name))
    if not too_large(spec, preferences.compute().memory_bytes):
        return OutputBuffer(spec, parent)
    if folder := preferences.results_folder():
        further = spec.name if plan.outputs and spec.name != plan.outputs[0].name else ""
        return OutputBuffer(spec, parent, unused(Path(folder).expanduser(), f"{job.title or plan.engine} {further}"))
    return OutputBuffer(spec, parent, _passing_folder() / f"{spec.name}{SUFFIX}", kept=False)


def unused(folder: Path, title: str) -> Path:
    """Return a file for a result in `folder` that is neither there nor being written."""
    stem = re.sub(r"[^\w.+-]+", "_", title).strip("_")
    names = (f"{stem}{SUFFIX}", *(f"{stem}-{n}{SUFFIX}" for n in range(2, 10_000)))
    return next(folder / name for name in names if not ((folder / name).exists() or any(folder.glob(f".{name}.*.partial"))))


def numbered(path: str, number: int) -> str:
    """Return the file of the job `number` (from 0) of several that were started together."""
    return path if not number else path.removesuffix(SUFFIX) + f"-{number + 1}{SUFFIX}"


def _passing_folder() -> Path:
    """Return a new folder for what goes with its layers; what killed viewers left is removed.

    Not in the system's folder for temporary files, which may lie in memory.
    """
    root, host = cache_folder() / "results", platform.node()
    root.mkdir(parents=True, exist_ok=True)
    for old in root.glob(f"{host}~*~*"):
        pid = old.name.split("~")[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{host}~{os.getpid()}~", dir=root))
