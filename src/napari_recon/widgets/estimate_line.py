"""One line that says what a run would cost, before it starts."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_recon.core.plan import Plan
from napari_recon.engines import registry
from napari_recon.jobs.estimates import describe_seconds
from napari_recon.widgets.look import Line
from napari_recon.widgets.request import Estimate


class EstimateLine(QWidget):
    """Time and memory of the plans; orange when they need more than there is; a plan's error as a sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.warnings = Line(), Line()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.line)
        column.addWidget(self.warnings)

    def wait(self) -> None:
        """A plan is being made; what is shown may be out of date."""
        if not self.line.text():
            self.line.say("Estimating …")

    def clear(self) -> None:
        """Nothing can be said."""
        self.line.say("")
        self.warnings.say("")

    def show_estimate(self, estimate: Estimate) -> None:
        """Show time, memory and warnings."""
        too_big = estimate.memory_bytes > estimate.limit_bytes > 0
        self.line.say(estimate_text(estimate), "warning" if too_big else "info")
        self.warnings.say("\n".join(estimate.warnings), "warning")

    def show_error(self, sentence: str) -> None:
        """Show why there is no plan."""
        self.line.say(sentence, "error")
        self.warnings.say("")


def estimate_text(estimate: Estimate) -> str:
    """Return ``"about 40 s · 1.2 of 8.0 GB on cpu"``."""
    device = estimate.plans[0].compute.device
    kind = registry.get(estimate.plans[0].engine).info.kind
    previewed = estimate.plans[0].inputs and kind not in ("fit", "train", "segment")
    later = "time known after a preview" if previewed else "time known once it runs"
    time = later if estimate.seconds is None else describe_seconds(estimate.seconds)
    time = time if time.startswith(("less", "time")) else f"about {time}"
    jobs = f"{len(estimate.plans)} jobs · " if len(estimate.plans) > 1 else ""
    text = f"{jobs}{time} · {size(estimate.memory_bytes)} of {size(estimate.limit_bytes)} on {device}"
    if estimate.memory_bytes > estimate.limit_bytes > 0:
        text += "; choose a smaller region or smaller tiles"
    return text


def result_text(plan: Plan) -> str:
    """Return the extent of the first output: ``"result: 3 frames · 21 × 216 × 216 voxels (zyx) · 12 MB"``."""
    grid, itemsize = plan.outputs[0].grid, 4
    count = 1
    for n in grid.shape:
        count *= n
    outer = [f"{grid.size(a)} {word}" for a, word in (("T", "frames"), ("C", "channels")) if grid.size(a) > 1]
    inner = [a for a in grid.axes if a not in "TC"]
    extent = f"{' × '.join(str(grid.size(a)) for a in inner)} voxels ({''.join(inner).lower()})"
    return "Result: " + " · ".join([*outer, extent, size(count * itemsize)])


def size(count: float) -> str:
    """Return bytes in words: ``"1.2 GB"``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
