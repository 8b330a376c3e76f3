"""Cancel and pause inside a training step: the token is checked at every layer, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from napari_recon.core.token import CancelToken


@contextmanager
def interruptible(network: nn.Module, token: CancelToken) -> Iterator[None]:
    """Check `token` before and after every layer of `network`, so that no step is too long to be stopped."""

    def passing(gradient: Tensor) -> None:
        token.check()

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        token.check()
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(passing)  # type: ignore[no-untyped-call]

    leaves = [module for module in network.modules() if not any(module.children())]
    handles = [module.register_forward_hook(after) for module in leaves]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
