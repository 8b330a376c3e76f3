"""How smooth the viewer stays during a run: gaps of a 10 ms timer in the main thread, first visible block, cancel.

    scripts/on_display.sh python benchmarks/responsiveness.py [--model CHECKPOINT]

A 63 x 63 box in the middle of a 189 x 189 recording of 49 views; content does not matter here, so it is random counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
from recording import Row, save

METHODS = {"deconvolution.lightfield_rl": "Richardson-Lucy", "serenet.reconstruct": "SeReNet"}
BOX, FIELD, VIEWS = 63, 189, 49
CANCELS = 5


class Watch:
    """A 10 ms timer in the main thread that keeps the gaps between its ticks."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(10)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now


def wait_until(condition: Any, seconds: float = 300) -> float:
    """Process events until `condition()` and return how long it took."""
    from qtpy.QtCore import QEventLoop
    from qtpy.QtWidgets import QApplication

    started = time.perf_counter()
    while not condition():
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 20)
        if time.perf_counter() - started > seconds:
            raise TimeoutError("the run did not get that far")
    return time.perf_counter() - started


class Bench:
    """A viewer with a recording, a box and the dock."""

    def __init__(self, engine: str, model: str) -> None:
        import napari

        from napari_recon.core.region import Box
        from napari_recon.widgets.light_field import LightFieldWidget

        if model and engine == "serenet.reconstruct":
            from napari_recon.hub import import_model

            import_model(model)
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1200, 800)
        counts = np.random.default_rng(0).poisson(200, (VIEWS, FIELD, FIELD)).astype(np.uint16)
        self.viewer.add_image(counts, name="views", scale=(1, 0.5, 0.5), units=("pixel", "um", "um"))
        self.dock = LightFieldWidget(self.viewer)
        self.viewer.window.add_dock_widget(self.dock, area="right")
        self.dock.choose_method(engine)
        low = (FIELD - BOX) // 2
        self.dock.region.region.box = Box(y=(low, low + BOX), x=(low, low + BOX))
        wait_until(lambda: self.dock.run_bar.run_button.isEnabled(), 60)
        settled = time.perf_counter()
        wait_until(lambda: time.perf_counter() > settled + 1)

    def visible(self) -> bool:
        """Whether the first block has been shown; looking at the voxels would itself take the main thread's time."""
        return any(shown.goal is not None or shown.lit for shown in self.dock.controller.results._shown)

    def run(self) -> tuple[float, list[float]]:
        """Reconstruct the box; return the time to the first visible block and the timer's gaps during the run."""
        for layer in [layer for layer in self.viewer.layers if "napari-recon" in layer.metadata]:
            self.viewer.layers.remove(layer)
        settled = time.perf_counter()
        wait_until(lambda: time.perf_counter() > settled + 0.5)
        watch, state = Watch(), lambda: self.dock.controller.state
        self.dock.start_run()
        first = wait_until(self.visible)
        wait_until(lambda: state() == "idle")
        return first, watch.gaps

    def cancel(self, after_s: float) -> float:
        """Start a run, cancel it after a while and return how long it takes to be idle."""
        self.dock.start_run()
        wait_until(lambda: self.dock.controller.state == "running")
        started = time.perf_counter()
        wait_until(lambda: time.perf_counter() > started + after_s)
        self.dock.controller.cancel()
        return wait_until(lambda: self.dock.controller.state == "idle")


def child(engine: str, model: str) -> None:
    """Measure one engine in this process: its first run, its second, and cancels; print JSON."""
    bench = Bench(engine, model)
    fresh_first, fresh_gaps = bench.run()
    first, gaps = bench.run()
    cancels = [bench.cancel(0.1 + 0.15 * n) for n in range(CANCELS)]
    bench.dock.let_go()
    bench.viewer.close()
    found = {
        "fresh_first": fresh_first,
        "fresh_worst": max(fresh_gaps),
        "first": first,
        "worst": max(gaps),
        "p95": float(np.percentile(gaps, 95)),
        "cancel": max(cancels),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def main() -> None:
    """Measure every method in a fresh process and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="", help="a SeReNet checkpoint; without it only Richardson-Lucy is measured")
    parser.add_argument("--child", default="")
    asked = parser.parse_args()
    if asked.child:
        return child(asked.child, asked.model)
    rows = []
    for engine, title in METHODS.items():
        if engine == "serenet.reconstruct" and not asked.model:
            continue
        command = [sys.executable, __file__, "--child", engine, "--model", asked.model]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(output.splitlines()[-1])
        rows += [
            Row(f"{title}: gap of a 10 ms timer during a run, 95th percentile", found["p95"], "s", "< 0.03"),
            Row(f"{title}: worst gap", found["worst"], "s", "< 0.25"),
            Row(f"{title}: first block visible after Run", found["first"], "s", "< 2"),
            Row(f"{title}: worst gap of the first run in a process (torch is imported)", found["fresh_worst"], "s", "< 0.5"),
            Row(f"{title}: first block of that run", found["fresh_first"], "s", "< 4"),
            Row(f"{title}: cancel, worst of {CANCELS}", found["cancel"], "s", "< 0.5"),
        ]
    note = f"A {BOX} x {BOX} box in a {FIELD} x {FIELD} recording of {VIEWS} views; virtual display, software OpenGL."
    save("responsiveness", rows, "scripts/on_display.sh python benchmarks/responsiveness.py --model CHECKPOINT", note)


if __name__ == "__main__":
    main()
