"""Start-up: help, importing, opening the dock; each in fresh processes, the best of several.

scripts/on_display.sh python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time

from recording import Row, save

REPEATS = 7
OPEN_DOCK = """
import sys, time, napari
viewer = napari.Viewer(show=False)
started = time.perf_counter()
from napari_recon.widgets.light_field import LightFieldWidget
dock = LightFieldWidget(viewer)
print(time.perf_counter() - started, int("torch" in sys.modules))
dock.let_go()
viewer.close()
"""


def wall_seconds(*command: str) -> float:
    """Return the shortest time of several fresh processes."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return min(times)


def dock_seconds() -> tuple[float, int]:
    """Return the shortest time to import and build the dock in a viewer, and whether torch was imported."""
    found = []
    for _ in range(REPEATS):
        done = subprocess.run([sys.executable, "-c", OPEN_DOCK], check=True, stdout=subprocess.PIPE, text=True)
        seconds, torch = done.stdout.split()[-2:]
        found.append((float(seconds), int(torch)))
    return min(found)[0], max(torch for _, torch in found)


def main() -> None:
    """Measure and record."""
    dock, torch = dock_seconds()
    rows = [
        Row("interpreter alone (`python -c pass`)", wall_seconds("-c", "pass"), "s"),
        Row("`import napari_recon`", wall_seconds("-c", "import napari_recon"), "s"),
        Row("`napari-recon --help`", wall_seconds("-m", "napari_recon", "--help"), "s", "< 0.3"),
        Row("opening the Light field dock in a running viewer", dock, "s"),
        Row("torch imported by opening the dock (0: no)", torch, "", "<= 0"),
    ]
    save("startup", rows, "scripts/on_display.sh python benchmarks/startup.py", f"Best of {REPEATS} fresh processes each.")


if __name__ == "__main__":
    main()
