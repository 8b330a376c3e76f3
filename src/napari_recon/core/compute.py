"""Where and with how much a plan runs: device, threads, memory. Decided without importing torch."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

import psutil

from napari_recon.core import settings
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Frozen

#: How much of the free memory a run may use when nobody says.
SHARE = 0.6


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
        machine = _elsewhere.get()
        memory = self.memory_bytes or (int(SHARE * free_memory(device)) if machine is None else machine.bytes_of(device))
        return Compute(
            device=device,
            threads=self.threads or max(1, (os.cpu_count() or 2) - 1),
            seed=self.seed,
            memory_bytes=memory if machine is None else min(memory, machine.bytes_of(device)),
            deterministic=self.deterministic,
        )


class Machine(Frozen):
    """Where plans will run when that is not here.

    Attributes
    ----------
    backend : str
        Its best device: ``"cuda"``, ``"mps"`` or ``"cpu"``.
    threads : int
        Of one run.
    memory_bytes, device_bytes : int
        What a run may use of the host's memory, and of the accelerator's.
    """

    backend: str = "cpu"
    threads: int = 1
    memory_bytes: int = 0
    device_bytes: int = 0

    @classmethod
    def here(cls, threads: int = 1, at_most: int = 0) -> Machine:
        """Return this one, with `at_most` bytes of the host's memory (0: the usual share of what is free)."""
        backend = torch_backend()
        host = settings.memory_bytes() or at_most or int(SHARE * free_memory("cpu"))
        device = int(SHARE * free_memory(backend)) if backend == "cuda" else host
        return cls(backend=backend, threads=threads, memory_bytes=host, device_bytes=device)

    def bytes_of(self, device: str) -> int:
        """Return what a run on `device` may use."""
        return self.device_bytes if device.startswith("cuda") else self.memory_bytes

    def and_also(self, other: Machine) -> Machine:
        """Return what both can do."""
        return Machine(
            backend=self.backend if self.backend == other.backend else "cpu",
            threads=min(self.threads, other.threads),
            memory_bytes=min(self.memory_bytes, other.memory_bytes),
            device_bytes=min(self.device_bytes, other.device_bytes),
        )


_elsewhere: ContextVar[Machine | None] = ContextVar("elsewhere", default=None)


@contextmanager
def planning_for(machine: Machine) -> Iterator[None]:
    """Plans that are made inside are for `machine`: for its device, and for no more memory than it has."""
    token = _elsewhere.set(machine)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def torch_backend() -> str:
    """Return ``"cuda"``, ``"mps"`` or ``"cpu"``: the best device the installed torch build can drive where plans run."""
    machine = _elsewhere.get()
    return _torch_backend() if machine is None else machine.backend


@lru_cache
def _torch_backend() -> str:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return "cpu"
    version = Path(spec.origin).with_name("version.py")
    built_for_cuda = version.exists() and re.search(r"^cuda\b[^=]*=\s*['\"]", version.read_text(), re.MULTILINE)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "NoDevFiles")
    if built_for_cuda and not hidden and (Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi")):
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
        query = [smi, f"--id={_card(device)}", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
        found = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
        if found.isdigit():
            return int(found) * 2**20
    return int(psutil.virtual_memory().available)


def _card(device: str) -> str:
    """Return what nvidia-smi calls a device: programs count those that ``CUDA_VISIBLE_DEVICES`` shows them."""
    index = device.partition(":")[2] or "0"
    shown = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return shown[int(index)] if int(index) < len(shown) else index
