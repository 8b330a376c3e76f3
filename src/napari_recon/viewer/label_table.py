"""Tables about labels: what a run measured, as the features of a labels layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def is_label_table(rows: Any) -> bool:
    """Return whether rows are about labels: each says which."""
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, Mapping) and "label" in row for row in rows)


def label_features(rows: Sequence[Mapping[str, Any]], time: int | None = None) -> pd.DataFrame:
    """Return the features of a labels layer: one row per label (and time, of a series), `index` is the label.

    Parameters
    ----------
    rows : sequence of mapping
        With a column ``label``, and ``time`` in a series.
    time : int, optional
        The time on show: its rows come last, since napari tells the last one of a label under the mouse.
    """
    import pandas as pd

    table = pd.DataFrame([{"index": row["label"], **row} for row in rows]).drop(columns="label")
    if "time" in table and table["time"].nunique() < 2:
        return table.drop(columns="time")
    if "time" in table and time is not None:
        table = table.iloc[(table["time"] == time).to_numpy().argsort(kind="stable")]
    return table.reset_index(drop=True)
