"""The report of a batch: a table for programs, a page for people."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_recon.jobs.artifacts import write_table
from napari_recon.jobs.batch.items import Item
from napari_recon.jobs.batch.records import Outcome, Settings, write_text
from napari_recon.jobs.estimates import describe_seconds

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%}td,th{padding:.45rem .6rem;border-bottom:1px solid #ddd;text-align:left}
td{vertical-align:top}
img{image-rendering:pixelated;border-radius:4px;background:#000;max-width:160px}.failed{color:#a11}.done{color:#176}
small{color:#666}pre{background:#f4f4f4;padding:.8rem;overflow:auto}
"""


def write_report(out: Path, settings: Settings, outcomes: Mapping[Item, Outcome]) -> tuple[Path, Path]:
    """Write ``report.csv`` and ``report.html`` and return their paths."""
    table, page = out / "report.csv", out / "report.html"
    write_table(table, [_row(item, outcome) for item, outcome in outcomes.items()])
    write_text(page, _page(out, settings, outcomes))
    return table, page


def _row(item: Item, outcome: Outcome) -> dict[str, Any]:
    return {
        "recording": item.label,
        "state": outcome.state,
        "result": outcome.result,
        "frames": outcome.frames,
        "seconds": round(outcome.seconds, 2),
        "peak_memory_mb": round(outcome.peak_memory_bytes / 1e6),
        "device": outcome.device,
        **{name: f"{value:.6g}" for name, value in outcome.metrics.items()},
        "warnings": " | ".join(outcome.warnings),
        "message": outcome.message,
        "source": item.source,
    }


def _page(out: Path, settings: Settings, outcomes: Mapping[Item, Outcome]) -> str:
    import yaml

    counts: dict[str, int] = {}
    for outcome in outcomes.values():
        counts[outcome.state] = counts.get(outcome.state, 0) + 1
    total = describe_seconds(sum(o.seconds for o in outcomes.values()))
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    rows = "\n".join(_line(out, item, outcome) for item, outcome in outcomes.items())
    recipe = html.escape(yaml.safe_dump(settings.recipe, sort_keys=False, allow_unicode=True))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(out.name)}: batch report</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(out.name)}</h1>"
        f"<p>{len(outcomes)} recordings of <code>{html.escape(settings.source)}</code>: {summary}. {total} of computing.</p>"
        "<table><tr><th><th>recording<th>state<th>frames<th>time<th>memory<th>what was said</tr>"
        f"{rows}</table><h2>Recipe</h2><pre>{recipe}</pre></html>"
    )


def _line(out: Path, item: Item, outcome: Outcome) -> str:
    picture = f'<img alt="" src="data:image/png;base64,{outcome.thumbnail}">' if outcome.thumbnail else ""
    result = outcome.result
    name = html.escape(item.label)
    if result:
        place = Path(result)
        link = place.relative_to(out).as_posix() if place.is_relative_to(out) else place.as_posix()
        name = f'{name}<br><small><a href="{html.escape(link)}">{html.escape(link)}</a></small>'
    values = [f"{html.escape(key)} {value:.4g}" for key, value in outcome.metrics.items()]
    words = [html.escape(text) for text in (*outcome.warnings, outcome.message) if text]
    said = "<br>".join([*([", ".join(values)] if values else []), *words])
    memory = f"{outcome.peak_memory_bytes / 1e6:.0f} MB" if outcome.peak_memory_bytes else ""
    time = describe_seconds(outcome.seconds) if outcome.seconds else ""
    return (
        f"<tr><td>{picture}<td>{name}<td class={outcome.state}>{outcome.state}<td>{outcome.frames}<td>{time}"
        f"<td>{memory}<td>{said}</tr>"
    )
