from __future__ import annotations

import subprocess
import sys

import pytest

from napari_recon.cli.group import COMMANDS, load

from .conftest import Cli

HEAVY = ("torch", "numpy", "napari", "qtpy", "scipy", "zarr", "tifffile", "rich.progress")


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_help_imports_nothing_heavy_and_no_command(words: list[str]) -> None:
    code = (
        "import sys\nfrom napari_recon.cli import app\n"
        f"try:\n    app({words!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "heavy += [m for m in sys.modules if m.startswith('napari_recon.cli.') and m != 'napari_recon.cli.group']\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


LIGHT = [["run", "--help"], ["engines"], ["params", "deconvolution.lightfield_rl"], ["models", "list"]]


@pytest.mark.parametrize("words", LIGHT)
def test_listing_never_imports_torch(words: list[str]) -> None:
    code = (
        f"import sys\nfrom napari_recon.cli import app\ntry:\n    app({words!r})\n"
        "except SystemExit as end:\n    assert not end.code\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_the_top_help_names_every_command(cli: Cli) -> None:
    answer = cli("--help")
    assert answer.code == 0 and all(name in answer.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_explains_itself(cli: Cli, name: str) -> None:
    assert load(name).name == name
    answer = cli(name, "--help")
    assert answer.code == 0 and "Usage" in answer.out and not answer.err


def test_the_public_options_are_all_there(cli: Cli) -> None:
    for verb in ("run", "train", "plan"):
        known = {option for param in load(verb).params for option in param.opts}
        asked = (
            "--model --set --params --roi --roi-space --time --axes --voxel-size --device --devices --seed --init "
            "--resume --input --json --quiet"
        ).split()
        assert set(asked) <= known
        assert verb == "plan" or {"-o", "--recipe-out"} <= known
    assert {o for p in load("metrics").params for o in p.opts} >= {"--align", "--crop", "--peak", "--json"}
    assert set(load("models").commands) == {"list", "show", "check", "import", "fetch", "remove"}


def test_python_m_works() -> None:
    done = subprocess.run([sys.executable, "-m", "napari_recon", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() and not done.stderr
