"""Fill docs/benchmarks.md from benchmarks/results/*.json.

python benchmarks/report.py            rewrites the page
python benchmarks/report.py --check    only tells whether it is current (exit status 1 when not)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent
sys.path[:0] = [str(REPO / "scripts"), str(REPO / "benchmarks")]

from generated_blocks import names, table, update  # noqa: E402
from recording import RESULTS, Row  # noqa: E402

PAGE = REPO / "docs" / "benchmarks.md"
VERDICT = {True: "reached", False: "**missed**", None: ""}


def block(name: str) -> str:
    """Return the Markdown of one benchmark's results."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return "Not measured yet."
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**row) for row in found["rows"]]
    lines = [(row.what, f"{row.value:.4g} {row.unit}".strip(), row.target, VERDICT[row.met]) for row in rows]
    parts = [
        table(["measured", "value", "aim", ""], lines),
        found["note"],
        f"Repeat with `{found['command']}`. {_where(found)}",
    ]
    return "\n\n".join(part for part in parts if part)


def _where(found: dict[str, Any]) -> str:
    m = found["machine"]
    busy = f", load average {m['load']}" if m.get("load") is not None else ""
    threads = f"{m['threads']} thread{'s' if m['threads'] > 1 else ''}"
    return (
        f"Measured on {found['date']} with {threads} of {m['cores']} {m['processor']} cores{busy}, "
        f"device {m['device']}, Python {m['python']}, PyTorch {m['torch']}."
    )


def main() -> int:
    """Update or check the page; a result that no block shows is an error."""
    check = "--check" in sys.argv[1:]
    shown = names(PAGE.read_text(encoding="utf-8"))
    homeless = sorted({path.stem for path in RESULTS.glob("*.json")} - set(shown))
    stale = update([PAGE], block, check)
    for name in homeless:
        sys.stderr.write(f"docs/benchmarks.md has no block for the results {name}\n")
    if stale:
        sys.stderr.write(f"{PAGE.relative_to(REPO)} {'is out of date' if check else 'was updated'}\n")
    return int(bool(homeless) or (check and bool(stale)))


if __name__ == "__main__":
    sys.exit(main())
