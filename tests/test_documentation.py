"""Pages that are partly generated are current, every engine has its block, and every page is in the navigation."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_recon.cli import app
from napari_recon.core.params import describe_parameters
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry

REPO = Path(__file__).parent.parent
sys.path.insert(0, str(REPO / "scripts"))

import generated_blocks  # noqa: E402


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=REPO, capture_output=True, text=True, timeout=120, check=False)


def test_parameter_tables_are_current() -> None:
    done = run("docs/make_parameter_tables.py", "--check")
    assert done.returncode == 0, f"{done.stderr}; run python docs/make_parameter_tables.py"


def test_the_schema_of_recipes_is_current() -> None:
    done = run("docs/make_recipe_schema.py", "--check")
    assert done.returncode == 0, f"{done.stderr}; run python docs/make_recipe_schema.py"


def test_benchmark_page_is_current() -> None:
    done = run("benchmarks/report.py", "--check")
    assert done.returncode == 0, f"{done.stderr}; run python benchmarks/report.py"


@pytest.mark.parametrize("name", [name for name in registry.names() if not name.startswith("toy.")])
def test_every_engine_and_parameter_is_documented(name: str) -> None:
    pages = [page.read_text(encoding="utf-8") for page in (REPO / "docs" / "engines").glob("*.md")]
    mine = [text for text in pages if name in generated_blocks.names(text)]
    assert len(mine) == 1, f"{name} should have one page in docs/engines with a generated block, found {len(mine)}"
    (page,) = mine
    for row in describe_parameters(registry.get(name).Params):
        assert f"| `{row.name}` |" in page


def test_every_page_is_in_the_navigation() -> None:
    navigation = (REPO / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (REPO / "docs").rglob("*.md"):
        assert page.relative_to(REPO / "docs").as_posix() in navigation


def test_blocks_are_replaced_and_the_rest_is_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("one\n<!-- generated: a.b -->\nold\n<!-- end -->\ntwo\n<!-- generated: c -->\n<!-- end -->\n")
    assert generated_blocks.names(page.read_text()) == ["a.b", "c"]
    assert generated_blocks.update([page], str.upper, check=True) == [page]
    assert "old" in page.read_text()
    assert generated_blocks.update([page], str.upper) == [page]
    assert generated_blocks.update([page], str.upper) == []
    assert page.read_text() == (
        "one\n<!-- generated: a.b -->\n\nA.B\n\n<!-- end -->\ntwo\n<!-- generated: c -->\n\nC\n\n<!-- end -->\n"
    )


def test_bars_do_not_break_a_table() -> None:
    assert generated_blocks.table(["a"], [["x | y"]]) == "| a |\n| --- |\n| x \\| y |"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recording that the examples speak of."""
    from napari_recon import samples
    from napari_recon.io import open_stack, write_stack

    folder = tmp_path_factory.mktemp("examples")
    stack = open_stack(samples.path("lightfield.ome.tif"))
    write_stack(folder / "views.tif", ImageStack(stack.read(t=0), stack.grid.only("VYX"), "views"))
    return folder


def examples(page: str, language: str) -> str:
    text = (REPO / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/command-line.md"])
def test_python_examples_run(page: str, work: Path) -> None:
    code = examples(page, "python")
    assert "import napari_recon" in code
    done = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_command_examples_run(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that need no checkpoint; the list of commands itself is not an example."""
    lines = examples("docs/command-line.md", "").splitlines()
    commands = [line for line in lines if re.match("napari-recon .*(views.tif|simulated|volume.ome)", line)]
    assert len(commands) >= 6
    monkeypatch.chdir(work)
    for command in commands:
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, f"{command}: {done.stderr}"
