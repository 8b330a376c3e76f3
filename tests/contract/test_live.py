"""Live sessions, on the toy engine."""

from __future__ import annotations

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Decided, MetricLogged, OutputOpened
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from tests.toy_engine import ToySmooth


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).random((12, 14)).astype(np.float32)


def test_a_session_feeds_frames_and_changes_live_parameters(frame: np.ndarray) -> None:
    engine, stack = ToySmooth(), ImageStack.of(frame, "YX")
    plan = engine.plan([InputRef(name="image", grid=stack.grid)], {"radius": 1})
    session = engine.open(plan, {})
    expected = next(e.array for e in engine.run(plan, {"image": [stack]}) if isinstance(e, BlockReady))
    first = next(e.array for e in session.feed(frame) if isinstance(e, BlockReady))
    np.testing.assert_array_equal(first, expected)
    again = next(e.array for e in session.update({"radius": 3}) if isinstance(e, BlockReady))
    assert again.std() < first.std()
    with pytest.raises(InputError, match="tile_size"):
        list(session.update({"tile_size": 4}))
    session.close()
    assert list(session.update({"radius": 1})) == []


def test_the_toy_gives_an_image_a_table_and_a_model(frame: np.ndarray) -> None:
    engine, stack = ToySmooth(), ImageStack.of(frame, "YX")
    plan = engine.plan([InputRef(name="image", grid=stack.grid)], {"training_steps": 20})
    events = list(engine.run(plan, {"image": [stack]}))
    artifacts = {e.name: e.payload for e in events if isinstance(e, ArtifactReady)}
    assert artifacts["brightness"][0]["mean"] == pytest.approx(float(frame.mean()))
    assert artifacts["gain"]["state"]["gain"] == pytest.approx(1.0, abs=1e-3)
    losses = [e.value for e in events if isinstance(e, MetricLogged)]
    assert losses[-1] < losses[0]


def test_a_session_opens_its_outputs_once_and_checks_what_it_is_given(frame: np.ndarray) -> None:
    engine, stack = ToySmooth(), ImageStack.of(frame, "YX")
    session = engine.open(engine.plan([InputRef(name="image", grid=stack.grid)], {}), {})
    opened = [sum(isinstance(e, OutputOpened) for e in session.feed(frame)) for _ in range(2)]
    assert opened == [1, 0]
    with pytest.raises(InputError, match=r"parameter radius should be int \(>= 0, <= 20 pixel\), found 99"):
        list(session.update({"radius": 99}))
    with pytest.raises(InputError, match=r"shape \(12, 14\) \(YX\), found \(3, 3\)"):
        list(session.feed(frame[:3, :3]))
    assert any(isinstance(e, BlockReady) for e in session.update({"radius": 2})), "the last good frame is still there"


def test_what_the_first_frame_decides_holds_for_the_session(frame: np.ndarray) -> None:
    class Deciding(ToySmooth):
        def process_frame(self, plan, frame, index, token):
            seen.append(plan.params["radius"])
            yield Decided({"radius": 5})

    seen: list[int] = []
    stack = ImageStack.of(frame, "YX")
    session = Deciding().open(Deciding().plan([InputRef(name="image", grid=stack.grid)], {}), {})
    for _ in range(2):
        list(session.feed(frame))
    assert seen == [1, 5]
