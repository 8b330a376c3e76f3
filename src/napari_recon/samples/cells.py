"""File > Open Sample: an embryo's membranes and nuclei over a few time points, drawn when it is opened, with its truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from napari_recon.core.stack import ImageStack
from napari_recon.samples.embryo import Anatomy, Embryo, Look, anatomy, draw
from napari_recon.samples.layers import LayerData, layer

SEED = 11
FINE, PLANES, TIMES = (56, 80, 104), 14, 4
NAMES = ("ABal", "ABar", "ABp", "MS", "E", "C", "D", "P4")
DIVIDING = "C"
VOXEL_UM = {"Z": 0.8, "Y": 0.2, "X": 0.2}
LOOK = Look(photons=60.0, blur=(3.2, 1.1, 1.1), deepest=0.6)


def cells() -> list[LayerData]:
    """Return the layers of the sample: cells that drift, one of which divides.

    Returns
    -------
    list of (data, attributes, layer type)
        Membranes (T, Z, Y, X); hidden, the nucleus channel and the true cells; and a Points layer with named nuclei.
    """
    drawn = series()
    geometry: dict[str, Any] = {
        "scale": {"T": 60.0, **VOXEL_UM},
        "units": {"T": "second", **dict.fromkeys("ZYX", "micrometer")},
    }
    made = [
        layer(ImageStack.of(np.stack([getattr(e, part) for e in drawn]), "TZYX", part, **geometry), title, **look)
        for part, title, look in (
            ("stack", "membranes", {"colormap": "gray"}),
            ("nuclei", "nucleus channel", {"colormap": "bop blue", "blending": "additive", "visible": False}),
        )
    ]
    for _, attributes, _ in made:
        del attributes["metadata"]["path"]
    place = {name: made[0][1][name] for name in ("scale", "translate", "units", "axis_labels")}
    truth = np.stack([e.labels for e in drawn])
    rows = [row for e in drawn for row in e.rows]
    points = np.array([[row[a] for a in ("time", "z", "y", "x")] for row in rows])
    look = {
        "features": {"name": [row["cell"] for row in rows]},
        "text": {"string": "{name}", "size": 9, "color": "white", "anchor": "upper_left"},
        "size": 5,
        "projection_mode": "all",
        "face_color": "#e69f00",
        "border_color": "black",
    }
    return [
        *made,
        (truth, {**place, "name": "cells, ground truth", "visible": False, "opacity": 0.5}, "labels"),
        (points, {**place, "name": "nuclei", **look}, "points"),
    ]


def series() -> list[Embryo]:
    """Return the embryo at every time; names have the same number in all of them."""
    rng = np.random.default_rng(SEED)
    body = anatomy(rng, len(NAMES), FINE, NAMES)
    names = [*NAMES, DIVIDING + "a", DIVIDING + "p"]
    drift = rng.normal(0, 0.6, (len(NAMES), 3))
    found = []
    for time in range(TIMES):
        now = replace(body, centres=body.centres + time * drift)
        last = time == TIMES - 1
        one = draw(divided(now) if last else now, PLANES, rng, LOOK, (DIVIDING,) if time == TIMES - 2 else (), time)
        table = np.zeros(len(one.names) + 1, np.int32)
        for name, number in one.names.items():
            table[number] = 1 + names.index(name)
        found.append(one._replace(labels=table[one.labels]))
    return found


def divided(body: Anatomy) -> Anatomy:
    """Return the embryo after its cell has divided."""
    at = body.names.index(DIVIDING)
    apart = np.array([0.0, 0.06, 0.06]) * FINE[2]
    centres = np.concatenate([np.delete(body.centres, at, 0), [body.centres[at] - apart, body.centres[at] + apart]])
    sizes = np.append(np.delete(body.sizes, at), [body.sizes[at]] * 2)
    names = (*(name for name in body.names if name != DIVIDING), DIVIDING + "a", DIVIDING + "p")
    return Anatomy(body.fine, centres, sizes, body.bend, names)
