"""Jobs: from inputs and settings to a plan, from a plan to results; the same for viewer, command line and Python."""

from __future__ import annotations

from napari_recon.jobs.estimates import estimate, probe, remember
from napari_recon.jobs.outputs import OutputWriter, write_events
from napari_recon.jobs.planning import input_ref, make_plan
from napari_recon.jobs.running import Result, collect, run_plan

__all__ = [
    "OutputWriter",
    "Result",
    "collect",
    "estimate",
    "input_ref",
    "make_plan",
    "probe",
    "remember",
    "run_plan",
    "write_events",
]
