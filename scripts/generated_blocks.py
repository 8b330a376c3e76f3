"""Text in a page that a script writes: everything between ``<!-- generated: NAME -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

BLOCK = re.compile(r"(?P<start><!-- generated: (?P<name>[\w.-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def filled(text: str, body_of: Callable[[str], str]) -> str:
    """Return a page's text with every generated block replaced by ``body_of(NAME)``."""
    return BLOCK.sub(lambda m: f"{m['start']}\n{body_of(m['name']).strip()}\n\n{m['end']}", text)


def names(text: str) -> list[str]:
    """Return the names of a page's generated blocks, in order."""
    return [match["name"] for match in BLOCK.finditer(text)]


def update(pages: Sequence[Path], body_of: Callable[[str], str], check: bool = False) -> list[Path]:
    """Rewrite the pages whose generated blocks are out of date (only tell which, when `check`); return them."""
    stale = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        new = filled(text, body_of)
        if new != text:
            stale.append(page)
            if not check:
                page.write_text(new, encoding="utf-8")
    return stale


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
