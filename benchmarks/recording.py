"""How a benchmark keeps what it measured: one JSON file per benchmark in benchmarks/results."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"


class Row(NamedTuple):
    """One measured number.

    Attributes
    ----------
    what : str
        What was measured, in words.
    value : float
    unit : str
        ``"dB"``, ``"s"``, ``"x"`` (a ratio measured in one run) ...
    target : str
        ``">= 36.3"`` or ``"< 0.25"``; empty when there is none.
    """

    what: str
    value: float
    unit: str = ""
    target: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one, and for one in words such as "about 0"."""
        sign, _, number = self.target.partition(" ")
        if sign not in (">=", ">", "<=", "<"):
            return None
        compare = {">=": self.value >= float(number), ">": self.value > float(number), "<=": self.value <= float(number)}
        compare["<"] = self.value < float(number)
        return compare[sign]


def save(name: str, rows: list[Row], command: str, note: str = "", headlines: Mapping[str, str] | None = None) -> Path:
    """Write the results of one benchmark, which docs/benchmarks.md shows in its block `name`.

    Parameters
    ----------
    name : str
    rows : list of Row
    command : str
        What repeats it, from the repository's root.
    note : str
        What a reader must know to judge the numbers.
    headlines : mapping, optional
        Engine name -> the one sentence that README.md's table of engines shows.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "name": name,
        "command": command,
        "note": note,
        "headlines": dict(headlines or {}),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "rows": [row._asdict() for row in rows],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """Return what a time depends on: processor cores, Python, PyTorch, its device, and how busy the machine was."""
    import torch

    from napari_recon.core.compute import torch_backend

    device = torch.cuda.get_device_name() if torch_backend() == "cuda" else "CPU"
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "processor": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }
