"""Run every benchmark and store what it measured in benchmarks/results; then write docs/benchmarks.md and README.md.

    scripts/on_display.sh python benchmarks/record_all.py [NAME ...]

NAMEs choose some of: parity network_speed lightfield_rl startup responsiveness. It takes about a quarter of an hour; let
the machine do nothing else. Published checkpoints and quality crops are read from $NAPARI_RECON_PARITY or ../shared/parity.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightfield_rl_quality import parity_folder
from recording import Row, save

REPO = Path(__file__).parent.parent
AIMS = {
    "group001": {"psnr": ">= 36.3", "corr": ">= 0.79", "ssim": ">= 0.965", "mip_psnr": ">= 25.0", "mip_corr": ">= 0.93"},
    "group007": {"psnr": ">= 35.7", "corr": ">= 0.65", "ssim": ">= 0.990", "mip_psnr": ">= 25.8"},
}
MEASURES = {
    "psnr": ("PSNR", "dB"),
    "ssim": ("SSIM", ""),
    "corr": ("correlation", ""),
    "mip_psnr": ("PSNR of the projection", "dB"),
    "mip_corr": ("correlation of the projection", ""),
}
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
        run("serenet_speed.py", *arguments, "--json", str(target))
        found = json.loads(target.read_text())["rows"]
    rows, headlines = [], []
    for row in found:
        title, variant = TITLES[row["network"]], row["variant"]
        if variant == "plain graph":
            rows.append(Row(f"{title}, {variant}: time", row["seconds"], "s"))
            continue
        aim = SPEED_AIMS[row["network"]] if variant == "engine" else ""
        rows.append(Row(f"{title}, {variant}: speed-up over the plain graph", row["speed_up"], "x", aim))
        rows.append(
            Row(f"{title}, {variant}: peak memory (plain graph {_plain(found, row):.0f} MB)", row["megabytes"], "MB")
        )
        rows.append(Row(f"{title}, {variant}: largest difference from the plain graph", row["largest_difference"], ""))
        if variant == "engine":
            headlines.append(f"{title} {row['speed_up']:.2f} times as fast as the plain graph")
    note = "63 x 63 light-field pixels, 49 views, 101 planes, one thread; runs alternate, the fastest of three counts."
    command = f"python benchmarks/serenet_speed.py {' '.join(arguments)}"
    save("network_speed", rows, command, note, {"serenet.reconstruct": f"{', '.join(headlines)} (one CPU thread)."})


def _plain(found: list[dict[str, Any]], row: dict[str, Any]) -> float:
    return next(r["megabytes"] for r in found if r["network"] == row["network"] and r["variant"] == "plain graph")


def lightfield_rl() -> None:
    """Quality of the deconvolution on the public crops."""
    found = json.loads(run("lightfield_rl_quality.py", "--stretch", "--json"))
    rows, headlines = [], []
    for number, row in enumerate(found["rows"]):
        automatic = number < 2
        aims = AIMS[row["case"]] if automatic else {}
        stop = "automatic stop" if automatic else "fixed"
        title = f"{row['case']}, voxel={row['voxel']}, {row['iterations']} iterations ({stop})"
        rows += [Row(f"{title}: {name}", row[key], unit, aims.get(key, "")) for key, (name, unit) in MEASURES.items()]
        aim = "<= 1.5" if automatic and row["case"] == "group001" else ""
        rows.append(Row(f"{title}: time in plain eager SeReNet passes", row["serenet_passes"], "x", aim))
        if automatic:
            headlines.append(
                f"{row['case']} {row['psnr']:.1f} dB PSNR, correlation {row['corr']:.2f}, SSIM {row['ssim']:.3f}"
            )
    note = (
        "Volumes of 101 x 273 x 273 voxels from 49 views of 63 x 63, compared after scale alignment away from the borders. "
        f"One plain eager SeReNet pass took {found['serenet_seconds']} s in the same process, one thread. "
        "These light fields were simulated with the geometric model that is inverted here."
    )
    sentence = f"Simulated crops, automatic stop: {'; '.join(headlines)}."
    command = "python benchmarks/lightfield_rl_quality.py --stretch"
    save("lightfield_rl", rows, command, note, {"deconvolution.lightfield_rl": sentence})


def responsiveness() -> None:
    """The viewer during runs, also of a network."""
    run("responsiveness.py", "--model", str(parity_folder() / "upstream_weights" / "serenet_pth" / "epoch-800.pth"))


BENCHMARKS: dict[str, Callable[[], Any]] = {
    "parity": lambda: run("serenet_parity.py"),
    "network_speed": network_speed,
    "lightfield_rl": lightfield_rl,
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
