"""Tables about labels: what a run measured, as the features of a labels layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def is_label_table(rows: Any) -> bool:
    """Return whether rows are about labels: each says which."""
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, Mapping) and "label" in row for row in rows)


def label_features(rows: Sequence[Mapping[str, Any]], frame: int | None = None) -> pd.DataFrame:
    """Return the features of a labels layer: one row per label (and time, of a series), `index` is the label.

    Parameters
    ----------
    rows : sequence of mapping
        With a column ``label``, and in a series ``frame``, which counts from 0, and ``time``.
    frame : int, optional
        The one on show: its rows come last, since napari tells the last one of a label under the mouse.
    """
    import pandas as pd

    table = pd.DataFrame([{"index": row["label"], **row} for row in rows]).drop(columns="label")
    if "frame" in table:
        if table["frame"].nunique() < 2:
            table = table.drop(columns="time", errors="ignore")
        elif frame is not None:
            table = table.iloc[(table["frame"] == frame).to_numpy().argsort(kind="stable")]
        table = table.drop(columns="frame")
    return table.reset_index(drop=True)
