"""Pages that are partly generated are current, every engine has its block, and every page is in the navigation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_recon.core.params import describe_parameters
from napari_recon.engines import registry

REPO = Path(__file__).parent.parent
sys.path.insert(0, str(REPO / "scripts"))

import generated_blocks  # noqa: E402


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=REPO, capture_output=True, text=True, timeout=120, check=False)


def test_parameter_tables_are_current() -> None:
    done = run("docs/make_parameter_tables.py", "--check")
    assert done.returncode == 0, f"{done.stderr}; run python docs/make_parameter_tables.py"


def test_benchmark_page_is_current() -> None:
    done = run("benchmarks/report.py", "--check")
    assert done.returncode == 0, f"{done.stderr}; run python benchmarks/report.py"


@pytest.mark.parametrize("name", [name for name in registry.names() if not name.startswith("toy.")])
def test_every_engine_and_parameter_is_documented(name: str) -> None:
    pages = [page.read_text(encoding="utf-8") for page in (REPO / "docs" / "engines").glob("*.md")]
    (page,) = [text for text in pages if name in generated_blocks.names(text)]
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
