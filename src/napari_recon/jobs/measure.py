"""What a run really needed."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil


def resident_bytes(device: str = "cpu") -> int:
    """Return the memory of this process now: on the device for CUDA, on the host otherwise."""
    if device.startswith("cuda") and "torch" in sys.modules:
        import torch

        return int(torch.cuda.memory_allocated(torch.device(device)))
    return int(psutil.Process().memory_info().rss)


def peak_memory_bytes(device: str = "cpu") -> int:
    """Return the largest memory of this process so far: on the device for CUDA, on the host otherwise."""
    if device.startswith("cuda") and "torch" in sys.modules:
        import torch

        return int(torch.cuda.max_memory_allocated(torch.device(device)))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":  # what getrusage says goes back to the process that started this one
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
