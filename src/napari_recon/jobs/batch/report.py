"""The report of a batch: a table for programs, a page for people."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from napari_recon.core.errors import ReconError
from napari_recon.jobs.artifacts import write_table
from napari_recon.jobs.batch.items import Item
from napari_recon.jobs.batch.records import Outcome, Settings, write_text
from napari_recon.jobs.estimates import describe_seconds

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}
h1{margin-bottom:.2rem}h1+p{margin-top:0}
table{border-collapse:collapse;width:100%}td,th{padding:.5rem .6rem;border-bottom:1px solid var(--line);text-align:left}
td{vertical-align:top}td.n,th.n{text-align:right;white-space:nowrap}tr:hover{background:var(--soft)}
img{image-rendering:pixelated;border-radius:4px;background:#000;display:block;width:128px}
b{display:inline-block;padding:0 .5rem;border-radius:1rem;font-weight:500;background:var(--soft)}
b.done{background:#1763;}b.failed{background:#c113}b.skipped,b.waiting{background:#8883}
small,.more{opacity:.75}td p{margin:0 0 .3rem}pre{background:var(--soft);padding:.8rem;overflow:auto}
summary{cursor:pointer}table+details{margin-top:1.5rem}details ul{margin:.2rem 0;padding-left:1.2rem}
"""
_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")


def write_report(out: Path, settings: Settings, outcomes: Mapping[Item, Outcome], last: bool = False) -> tuple[Path, Path]:
    """Write ``report.csv`` and ``report.html`` and return their paths.

    Parameters
    ----------
    last : bool
        There will be no later one: where another program holds the file, one beside it is written.

    Raises
    ------
    ReconError, OSError
    """
    rows = [_row(item, outcome) for item, outcome in outcomes.items()]
    table = _written(out / "report.csv", lambda path: write_table(path, rows), last)
    text = _page(out, settings, outcomes, table.name)
    return table, _written(out / "report.html", lambda path: write_text(path, text), last)


def _written(path: Path, write: Callable[[Path], Any], last: bool) -> Path:
    """Write a file and return where it is."""
    try:
        write(path)
    except (ReconError, OSError):
        if not last:
            raise
        path = path.with_name(f"{path.stem}-latest{path.suffix}")
        write(path)
    return path


def _row(item: Item, outcome: Outcome) -> dict[str, Any]:
    return {
        "recording": item.label,
        "state": outcome.state,
        "result": outcome.result,
        "frames": outcome.frames if outcome.state == "done" else "",
        "seconds": round(outcome.seconds, 2),
        "peak_memory_mb": round(outcome.peak_memory_bytes / 1e6),
        "device": outcome.device,
        **{name: f"{value:.6g}" for name, value in outcome.metrics.items()},
        "warnings": " | ".join(outcome.warnings),
        "message": outcome.message,
        "source": item.source,
    }


def _page(out: Path, settings: Settings, outcomes: Mapping[Item, Outcome], table: str) -> str:
    import yaml

    states = Counter(outcome.state for outcome in outcomes.values())
    seconds = sum(o.seconds for o in outcomes.values())
    summary = " ".join(f"<b class={state}>{count} {state}</b>" for state, count in states.items())
    devices = ", ".join(sorted({o.device for o in outcomes.values() if o.device}))
    engines = ", then ".join(str(step.get("engine")) for step in settings.recipe.get("steps", ()))
    rows = "\n".join(_line(out, item, outcome) for item, outcome in outcomes.items())
    recipe = html.escape(yaml.safe_dump(settings.recipe, sort_keys=False, allow_unicode=True))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(out.name)}: batch report</title><style>{_STYLE}</style><h1>{html.escape(out.name)}</h1>"
        f"<p><small>{html.escape(engines)} of the recordings in <code>{html.escape(settings.source)}</code>, "
        f"napari-recon {html.escape(settings.version)}, {datetime.now().astimezone():%Y-%m-%d %H:%M}</small></p>"
        f"<p>{summary} {describe_seconds(seconds) if seconds else ''}{f' on {html.escape(devices)}' if devices else ''} · "
        f"<a href={table}>as a table</a></p>"
        "<table><tr><th><th>recording<th>state<th class=n>frames<th class=n>time<th class=n>memory<th>what was said</tr>"
        f"{rows}</table><details><summary>Recipe</summary><pre>{recipe}</pre></details></html>"
    )


def _line(out: Path, item: Item, outcome: Outcome) -> str:
    picture = f'<img alt="" src="data:image/png;base64,{outcome.thumbnail}">' if outcome.thumbnail else ""
    name = html.escape(item.label)
    if outcome.result:
        place = Path(outcome.result)
        below = place.relative_to(out).as_posix() if place.is_relative_to(out) else ""
        link = quote(below) if below else place.absolute().as_uri()
        name = f'{name}<br><small><a href="{html.escape(link)}">{html.escape(below or str(place))}</a></small>'
    metrics = ", ".join(f"{html.escape(key)} {value:.4g}" for key, value in outcome.metrics.items())
    said = "".join(f"<p>{text}</p>" for text in (metrics, html.escape(outcome.message), *grouped(outcome.warnings)) if text)
    memory = f"{outcome.peak_memory_bytes / 1e6:.0f} MB" if outcome.peak_memory_bytes else ""
    time = describe_seconds(outcome.seconds) if outcome.seconds else ""
    frames = str(outcome.frames) if outcome.state == "done" else ""
    if frames and outcome.frames > 1 and not outcome.apart:
        frames += "<br><small title='an interrupted run of this recording begins anew'>in one piece</small>"
    return (
        f"<tr><td>{picture}<td>{name}<td><b class={outcome.state}>{outcome.state}</b><td class=n>{frames}"
        f"<td class=n>{time}<td class=n>{memory}<td>{said}</tr>"
    )


def grouped(sentences: Iterable[str]) -> list[str]:
    """Return sentences as HTML, those that differ in numbers only (one per frame, say) folded into one."""
    groups: dict[str, list[str]] = {}
    for text in sentences:
        groups.setdefault(_NUMBER.sub("#", text), []).append(html.escape(text))
    found = []
    for first, *others in groups.values():
        more = "".join(f"<li>{text}</li>" for text in others)
        fold = f"<details><summary class=more>and {len(others)} more like this</summary><ul>{more}</ul></details>"
        found.append(f"{first}{fold if others else ''}")
    return found
