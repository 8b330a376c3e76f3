"""What a run really needed."""

from __future__ import annotations

import sys

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
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
