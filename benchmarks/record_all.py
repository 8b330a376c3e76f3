"""Run every benchmark and store what it measured in benchmarks/results; then write docs/benchmarks.md and README.md.

    scripts/on_display.sh python benchmarks/record_all.py [NAME ...]

NAMEs choose some of: parity network_quality network_speed network_memory lightfield_rl psf_projector multiview_rl
lightfield_inr_query lightfield_inr_upstream lightfield_inr_meta sim_residual sim_classical startup responsiveness. It
takes about an hour; let the machine do nothing else. Published checkpoints and quality crops are read from
$NAPARI_RECON_PARITY or ../shared/parity.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightfield_rl_quality import parity_folder
from recording import Row, save

REPO = Path(__file__).parent.parent
SPEED_AIMS = {"serenet": ">= 1.5", "fserenet": ">= 1.35"}
TITLES = {"serenet": "SeReNet", "fserenet": "F-SeReNet"}


def run(program: str, *arguments: str) -> str:
    """Run a benchmark program and return its output."""
    command = [sys.executable, str(REPO / "benchmarks" / program), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=REPO).stdout


def network_speed() -> None:
    """Time and memory of the networks against their plain graphs."""
    arguments = ["--size", "63", "--planes", "101", "--repeats", "3", "--threads", "1"]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "speed.json"
        weights = ["--weights", str(parity_folder() / "upstream_weights")]
        run("serenet_speed.py", *arguments, *weights, "--json", str(target))
        found = json.loads(target.read_text())["rows"]
    rows, headlines = [], []
    for row in found:
        title, variant = TITLES[row["network"]], row["variant"]
        if variant == "plain graph":
            rows.append(Row(f"{title}, {variant}: time", row["seconds"], "s"))
            continue
        aim = SPEED_AIMS[row["network"]] if variant == "engine" else ""
        rows.append(Row(f"{title}, {variant}: speed-up over the plain graph", row["speed_up"], "x", aim))
        rows.append(Row(f"{title}, {variant}: largest difference from the plain graph", row["largest_difference"], ""))
        if variant == "engine":  # the first to run: later ones use memory again that it left behind
            memory = f"{title}, {variant}: peak memory (plain graph {_plain(found, row):.0f} MB)"
            rows.append(Row(memory, row["megabytes"], "MB"))
            headlines.append(f"{title} {row['speed_up']:.2f} times as fast as the plain graph")
    note = (
        "63 x 63 light-field pixels, 49 views, 101 planes, published weights, one thread; "
        "runs alternate, the fastest of three counts."
    )
    command = f"python benchmarks/serenet_speed.py {' '.join(arguments)} --weights FOLDER"
    save("network_speed", rows, command, note, {"serenet.reconstruct": f"{', '.join(headlines)} (one CPU thread)."})


def _plain(found: list[dict[str, Any]], row: dict[str, Any]) -> float:
    return next(r["megabytes"] for r in found if r["network"] == row["network"] and r["variant"] == "plain graph")


def peer() -> list[str]:
    """Return the option that names an interpreter with napari-sim-processor, where $NAPARI_RECON_PEER does."""
    python = os.environ.get("NAPARI_RECON_PEER")
    return ["--peer", python] if python else []


def responsiveness() -> None:
    """The viewer during runs, also of a network."""
    run("responsiveness.py", "--model", str(parity_folder() / "upstream_weights" / "serenet_pth" / "epoch-800.pth"))


BENCHMARKS: dict[str, Callable[[], Any]] = {
    "parity": lambda: run("serenet_parity.py"),
    "network_quality": lambda: run("network_quality.py"),
    "network_speed": network_speed,
    "network_memory": lambda: run("serenet_memory.py"),
    "lightfield_rl": lambda: run("lightfield_rl_quality.py", "--stretch", "--save"),
    "psf_projector": lambda: run("psf_projector.py", "--save"),
    "multiview_rl": lambda: run("multiview_rl.py", "--save"),
    "lightfield_inr_query": lambda: run("lightfield_inr_query.py", "--save"),
    "lightfield_inr_upstream": lambda: run("lightfield_inr_upstream.py", "--save"),
    "lightfield_inr_meta": lambda: run("lightfield_inr_meta.py", "--save"),
    "phantoms": lambda: run("phantoms.py", "--save"),
    "psf_shift_published": lambda: run("psf_shift_published.py", "--save"),
    "sim_residual": lambda: run("sim_residual.py"),
    "sim_classical": lambda: run("sim_classical.py", *peer()),
    "startup": lambda: run("startup.py"),
    "responsiveness": responsiveness,
}


def main() -> None:
    """Run what is asked for, then write the pages."""
    for name in sys.argv[1:] or BENCHMARKS:
        sys.stderr.write(f"{name} ...\n")
        BENCHMARKS[name]()
    for script in ("benchmarks/report.py", "docs/make_parameter_tables.py"):
        subprocess.run([sys.executable, str(REPO / script)], check=True)


if __name__ == "__main__":
    main()
