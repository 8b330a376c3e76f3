"""The page for people: what 800 frames say alike is folded, channels have colours, names from elsewhere are text."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from imagecodecs import png_decode

from napari_recon.core.stack import ImageStack
from napari_recon.io import write_stack
from napari_recon.jobs.batch.items import Item
from napari_recon.jobs.batch.records import Outcome, Settings
from napari_recon.jobs.batch.report import grouped, write_report
from napari_recon.jobs.batch.thumbnails import thumbnail


def test_sentences_that_differ_in_numbers_are_folded() -> None:
    said = grouped([*(f"frame {n} is dark ({n * 0.5:.2e})" for n in range(800)), "a < b"])
    assert len(said) == 2 and said[1] == "a &lt; b"
    assert said[0].startswith("frame 0 is dark") and "and 799 more" in said[0] and said[0].count("<li>") == 799


@pytest.mark.parametrize(("axes", "shape"), [("TZYX", (3, 2)), ("CYX", (2,)), ("TCZYX", (2, 5, 2)), ("YX", ())])
def test_thumbnails_of_any_axes(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random((*shape, 200, 400)).astype(np.float32)
    picture = png_decode(base64.b64decode(thumbnail(str(write_stack(tmp_path / "a.ome.zarr", ImageStack.of(array, axes))))))
    assert picture.shape[:2] == (67, 134) and (picture.ndim == 3) == ("C" in axes) and picture.max() == 255


def test_the_page_says_what_was_made_in_one_piece_and_takes_names_as_text(tmp_path: Path) -> None:
    item = Item(source="/data/<b>.tif", folder=".", stem="<b>")
    done = Outcome(state="done", frames=8, apart=False, seconds=3, result=str(tmp_path / "<b>.ome.zarr"))
    _, page = write_report(tmp_path, Settings(recipe={"steps": [{"engine": "a.b"}]}, source="/data"), {item: done})
    text = page.read_text()
    assert "in one piece" in text and "a.b of the recordings" in text and "<b>.ome" not in text


def test_links_lead_to_any_name_and_a_file_in_use_is_written_beside(tmp_path: Path) -> None:
    items = {
        Item(source=f"/data/{n}.tif", folder=".", stem=str(n)): place for n, place in enumerate((tmp_path, tmp_path.parent))
    }
    outcomes = {item: Outcome(state="done", result=str(place / "50 % #2?.tif")) for item, place in items.items()}
    settings = Settings(recipe={"steps": []}, source="/data")
    (tmp_path / "report.csv").mkdir()  # as good as a table that Excel holds
    with pytest.raises(OSError):
        write_report(tmp_path, settings, outcomes)
    table, page = write_report(tmp_path, settings, outcomes, last=True)
    text = page.read_text()
    assert table.name == "report-latest.csv" and table.is_file() and "href=report-latest.csv" in text
    assert 'href="50%20%25%20%232%3F.tif"' in text and f'href="{(tmp_path.parent / "50 % #2?.tif").as_uri()}"' in text
