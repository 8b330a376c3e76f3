from __future__ import annotations

import pytest

from napari_recon.core.events import Progress, Warned
from napari_recon.jobs.estimates import Pace


def test_preparations_do_not_count_as_pace() -> None:
    pace = Pace()
    pace.saw(Warned("weights are loaded"), 30.0)
    for done in range(1, 11):
        pace.saw(Progress(done, 10), 2.0)
    assert pace.seconds() == pytest.approx(20.0)


def test_a_run_without_progress_counts_whole() -> None:
    pace = Pace()
    pace.saw(Progress(1, 1), 3.0)
    assert pace.seconds() == 3.0
