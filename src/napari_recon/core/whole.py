"""WholeEngine: the base of engines that make something as a whole (simulations, training), with nothing to select from."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from napari_recon.core.compute import Compute
from napari_recon.core.engine import Engine
from napari_recon.core.errors import InputError
from napari_recon.core.frames import Refs
from napari_recon.core.params import EngineParams
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Selection

P = TypeVar("P", bound=EngineParams)


def held_bytes(refs: Refs) -> int:
    """Return the bytes of all pictures of the inputs as float32: what training learns from stays in memory."""
    return 4 * sum(math.prod(ref.grid.shape) for group in refs.values() for ref in group if ref.grid is not None)


class WholeEngine(Engine[P]):
    """An engine whose plan follows from its parameters and inputs alone.

    Attributes
    ----------
    makes, instead : str
        What the engine makes or uses whole, and what to do instead of choosing a part, for the sentence that refuses one.
    """

    makes: ClassVar[str]
    instead: ClassVar[str]

    @abstractmethod
    def made(self, refs: Refs, params: P) -> tuple[tuple[OutputSpec, ...], Resources]:
        """Return the voxel outputs and what they cost.

        Raises
        ------
        InputError
            When parameters and inputs do not fit together.
        """

    def plan(
        self,
        refs: Sequence[InputRef],
        params: Mapping[str, Any],
        selection: Selection = Selection(),
        model: ModelRef | None = None,
        compute: Compute = Compute(),
    ) -> Plan:
        """See `Engine.plan`; there is nothing to select from."""
        values, by_name = self.checked(refs, params, model)
        if selection != Selection():
            raise InputError(f"{self.info.name} {self.makes}, found a region or time range; {self.instead}")
        outputs, resources = self.made(by_name, values)
        return self.planned(
            params=values.model_dump(mode="json"),
            inputs=tuple(ref for group in by_name.values() for ref in group),
            outputs=outputs,
            whole={spec.name: spec.grid for spec in outputs},
            compute=compute.resolved(),
            resources=resources,
        )
