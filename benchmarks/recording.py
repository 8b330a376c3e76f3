"""How a benchmark keeps what it measured: one JSON file per benchmark in benchmarks/results."""

from __future__ import annotations

import json
import os
import platform
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
        """Whether the target is reached; None without one."""
        if not self.target:
            return None
        sign, number = self.target.split()
        compare = {">=": self.value >= float(number), ">": self.value > float(number), "<=": self.value <= float(number)}
        compare["<"] = self.value < float(number)
        return compare[sign]


def save(name: str, title: str, rows: list[Row], command: str, note: str = "") -> Path:
    """Write the results of one benchmark; `command` repeats it, `note` says what a reader must know."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "name": name,
        "title": title,
        "command": command,
        "note": note,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "rows": [row._asdict() for row in rows],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """Return what a time depends on: processor cores, Python, PyTorch and its device."""
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
    }
