"""Where and with how much a plan runs: device, threads, memory. Decided without importing torch."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import psutil

from napari_recon.core import settings
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Frozen


class Compute(Frozen):
    """Resources a plan is made for.

    Attributes
    ----------
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``; ``"auto"`` is resolved by `resolved`.
    threads : int
        Intra-op CPU threads; 0 means all cores but one (at least one), so that a viewer stays smooth.
    seed : int
    memory_bytes : int
        What the run may use; 0 means 60 % of what is free when planning.
    deterministic : bool
        Ask torch for deterministic algorithms where it has them (`rerun` does, on CUDA).
    """

    device: str = "auto"
    threads: int = 0
    seed: int = 0
    memory_bytes: int = 0
    deterministic: bool = False

    @classmethod
    def headless(cls, device: str = "auto", seed: int = 0, threads: int = 0) -> Compute:
        """Return the resources of a run without a viewer; 0 threads means every core, or OMP_NUM_THREADS of them.

        Raises
        ------
        InputError
            A negative number of threads.
        """
        if threads < 0:
            raise InputError(f"threads should be 1 or more (0: every core), found {threads}; leave it out")
        told = os.environ.get("OMP_NUM_THREADS", "")
        every = int(told) if told.isdigit() and int(told) else os.cpu_count() or 1
        device = settings.device() if device == "auto" else device
        return cls(device=device, seed=seed, threads=threads or every, memory_bytes=settings.memory_bytes())

    def resolved(self) -> Compute:
        """Return this with device, threads and memory fixed.

        Raises
        ------
        InputError
            When the asked device is not there.
        """
        device = resolve_device(self.device)
        return Compute(
            device=device,
            threads=self.threads or max(1, (os.cpu_count() or 2) - 1),
            seed=self.seed,
            memory_bytes=self.memory_bytes or int(0.6 * free_memory(device)),
            deterministic=self.deterministic,
        )


@lru_cache
def torch_backend() -> str:
    """Return ``"cuda"``, ``"mps"`` or ``"cpu"``: the best device the installed torch build can drive here."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return "cpu"
    version = Path(spec.origin).with_name("version.py")
    built_for_cuda = version.exists() and re.search(r"^cuda\b[^=]*=\s*['\"]", version.read_text(), re.MULTILINE)
    if built_for_cuda and (Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi")):
        return "cuda"
    return "mps" if platform.system() == "Darwin" and platform.machine() == "arm64" else "cpu"


def resolve_device(device: str) -> str:
    """Return the device `device` stands for, ``auto`` being the best one.

    Raises
    ------
    InputError
        An unknown name, or a device this machine or torch build lacks.
    """
    best = torch_backend()
    if device == "auto":
        return best
    kind = device.split(":")[0]
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device):
        raise InputError(f"device should be auto, cpu, cuda, cuda:N or mps, found {device!r}; choose one of them")
    if kind not in ("cpu", best):
        raise InputError(f"device {device} is not available here (found {best}); choose auto or {best}")
    return device


def free_memory(device: str) -> int:
    """Return the free memory of `device` in bytes (of the host for cpu and mps)."""
    if device.startswith("cuda") and (smi := shutil.which("nvidia-smi")):
        query = [smi, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
        lines = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False).stdout.split()
        index = int(device.partition(":")[2] or 0)
        if index < len(lines) and lines[index].isdigit():
            return int(lines[index]) * 2**20
    return int(psutil.virtual_memory().available)
