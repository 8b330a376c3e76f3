"""Write the generated blocks of docs/engines/*.md and README.md: what each engine takes, gives and can be told.

python docs/make_parameter_tables.py            rewrites the pages
python docs/make_parameter_tables.py --check    only tells whether they are current (exit status 1 when not)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

REPO = Path(__file__).parent.parent
sys.path.insert(0, str(REPO / "scripts"))

from generated_blocks import names, table, update  # noqa: E402

from napari_recon.core.engine import EngineInfo  # noqa: E402
from napari_recon.core.params import ParameterInfo, describe_parameters  # noqa: E402
from napari_recon.engines import registry  # noqa: E402

PAGES = sorted((REPO / "docs" / "engines").glob("*.md"))
RESULTS = REPO / "benchmarks" / "results"
HEADER = ("parameter", "type", "default", "range", "unit", "meaning")
MODEL = {"none": "no", "optional": "optional", "required": "yes"}


def block(name: str) -> str:
    """Return the Markdown of a generated block: an engine's, or the table of all engines."""
    return overview() if name == "engines" else engine_block(name)


def overview() -> str:
    """Return the table of engines with what each was measured to do."""
    page_of = {name: page for page in PAGES for name in names(page.read_text(encoding="utf-8"))}
    if missing := sorted({*registry.names()} - {*page_of}):
        raise SystemExit(f"{missing[0]} has no page in docs/engines; make one with a line <!-- generated: {missing[0]} -->")
    measured: dict[str, list[str]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        for engine, sentence in json.loads(path.read_text(encoding="utf-8")).get("headlines", {}).items():
            measured.setdefault(engine, []).append(sentence)
    rows = []
    for name in registry.names():
        info = registry.get(name).info
        link = f"[`{name}`]({page_of[name].relative_to(REPO).as_posix()})"
        rows.append((link, _sentence(info.summary), MODEL[info.needs_model], " ".join(measured.get(name, []))))
    return table(["engine", "does", "needs a model", "measured"], rows)


def engine_block(name: str) -> str:
    """Return the Markdown that describes one engine: inputs, outputs, properties, parameters."""
    engine = registry.get(name)
    parts = [f"*{engine.info.title}.* {_sentence(engine.info.summary)}", inputs_and_outputs(engine.info)]
    parts.append(table(["property", "value"], list(_properties(engine.info))))
    rows = describe_parameters(engine.Params)
    parts.append(table(HEADER, [_row(row) for row in rows if not row.advanced]))
    if advanced := [_row(row) for row in rows if row.advanced]:
        parts += ["Advanced:", table(HEADER, advanced)]
    return "\n\n".join(part for part in parts if part)


def inputs_and_outputs(info: EngineInfo) -> str:
    """Return one table of everything that goes in and comes out."""
    rows = [
        (
            f"in: `{spec.name}`",
            f"`{spec.axes}`" if spec.axes else "",
            ", ".join(spec.accepts),
            _sentence(spec.description) + ("" if spec.required else " Optional.") + (" Several." if spec.many else ""),
        )
        for spec in info.inputs
    ]
    rows += [
        (f"out: `{spec.name}`", f"`{spec.axes}`" if spec.axes else "", spec.kind, _sentence(spec.description))
        for spec in info.outputs
    ]
    return table(["", "axes", "kind", "meaning"], rows)


def _properties(info: EngineInfo) -> list[tuple[str, str]]:
    return [
        ("kind", info.kind),
        ("needs a model", MODEL[info.needs_model]),
        ("runs live", "yes" if info.live else "no"),
        ("a result depends on its surroundings by", info.halo),
        ("box result against crop of the whole result", f"within {info.roi_tolerance:g} of the maximum"),
        *(("published in", _link(reference)) for reference in info.references),
    ]


def _link(reference: str) -> str:
    doi = reference.lower().removeprefix("https://doi.org/").removeprefix("doi:").removeprefix("doi ").strip()
    return f"[doi {doi}](https://doi.org/{doi})" if doi.startswith("10.") and " " not in doi else reference


def _row(row: ParameterInfo) -> tuple[str, ...]:
    meaning = _sentence(row.description) + (" Can change during a live session." if row.live else "")
    return f"`{row.name}`", row.type, f"`{row.default}`", row.range, row.unit, meaning


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "?", "!")) else f"{text}."


def main() -> int:
    """Update or check the pages."""
    check = "--check" in sys.argv[1:]
    stale = update([*PAGES, REPO / "README.md"], block, check)
    for page in stale:
        sys.stderr.write(f"{page.relative_to(REPO)} {'is out of date' if check else 'was updated'}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
