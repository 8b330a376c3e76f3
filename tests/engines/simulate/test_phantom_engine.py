"""simulate.phantom as a run: kinds, known motion, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady
from napari_recon.core.plan import Plan
from napari_recon.engines import registry

SMALL = {"planes": 15, "height": 60, "width": 64}


def plan_of(seed: int = 0, **params: Any) -> Plan:
    compute = Compute(device="cpu", threads=1, seed=seed)
    return registry.get("simulate.phantom").plan([], {**SMALL, **params}, compute=compute)


def run(seed: int = 0, **params: Any) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the frames and the table of structures."""
    frames, rows = [], []
    plan = plan_of(seed, **params)
    for event in registry.get("simulate.phantom").run(plan, {}):
        if isinstance(event, BlockReady):
            frames.append(event.array[0])
        elif isinstance(event, ArtifactReady) and event.name == "structures":
            rows = event.payload
    return np.stack(frames), rows


@pytest.mark.parametrize("kind", ["bubtub", "lines", "tissue"])
def test_every_kind_drifts_by_exactly_its_velocity(kind: str) -> None:
    pixel, interval = 0.1221, 0.1
    velocity = (0.0, 1.5 * pixel / interval, -2 * pixel / interval)
    frames, rows = run(kind=kind, frames=3, velocity_um_s=velocity)
    assert frames[0].max() > 20
    np.testing.assert_allclose(frames[2][:, 12:-9, 9:-13], frames[0][:, 9:-12, 13:-9], atol=1e-3 * frames.max())
    for row in rows:
        assert (row["vz_um_s"], row["vy_um_s"], row["vx_um_s"]) == pytest.approx(velocity, abs=1e-5)


def test_the_table_says_where_structures_are_and_go() -> None:
    own = {"lines": 0, "bubbles": 0, "triples": 0, "big_beads": 0, "beads": 1, "blur": 0.0}
    frames, rows = run(seed=3, frames=3, speed=2.0, planes=41, **own)
    grid = plan_of(planes=41).output("truth").grid.only("ZYX")
    index = np.indices(frames[0].shape)
    assert [row["kind"] for row in rows] == ["ball"]
    for time, volume in enumerate(frames):
        found = [grid.to_world(axis, float((index[i] * volume).sum() / volume.sum())) for i, axis in enumerate("ZYX")]
        says = [rows[0][f"{a}_um"] + rows[0][f"v{a}_um_s"] * 0.1 * time for a in "zyx"]
        middle = [(grid.to_world(a, grid.size(a) - 1) + grid.to_world(a, 0)) / 2 for a in "ZYX"]
        assert found == pytest.approx(np.add(says, middle), abs=0.06)
    assert 0.9 < np.linalg.norm([rows[0][f"v{a}_um_s"] for a in "zyx"]) * 0.1 / 0.1221 < 2.0


def test_density_and_own_numbers() -> None:
    count = lambda **params: len(run(entry=10, **params)[1])  # noqa: E731
    assert count(density=4.0) == pytest.approx(4 * count(), abs=4)
    assert count(beads=3) == 3


def test_tissue_is_dense_and_lines_are_thin() -> None:
    tissue, lines = (run(kind=kind, planes=25)[0][0] for kind in ("tissue", "lines"))
    assert (tissue > 0.03 * tissue.max()).mean() > 0.6
    assert (lines > 0.03 * lines.max()).mean() < 0.1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"lines": 0, "bubbles": 0, "triples": 0, "beads": 0, "big_beads": 0}, "needs something to see"),
        ({"entry": 10, "beads": 0}, "needs something to see"),
        ({"entry": 16}, "entry"),
        ({"kind": "fish"}, "kind"),
    ],
)
def test_what_can_not_be_drawn_is_one_sentence(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        plan_of(**wrong)
    assert "\n" not in str(caught.value)
