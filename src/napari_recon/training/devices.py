"""Where a network is trained: on one device, or on several, one process each (lightning-fabric, the extra `train`)."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from queue import Empty
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from napari_recon.core.errors import Cancelled, EngineError, InputError, ReconError, describe
from napari_recon.core.events import Event
from napari_recon.core.token import CancelToken
from napari_recon.training.task import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Work = Callable[["Place", CancelToken], Iterator[Event]]
"""What every process does; only the events of rank 0 are seen."""


class Place:
    """One device, one process.

    Parameters
    ----------
    device : str
    mixed : bool
        Compute in bfloat16 where that is safe.
    """

    rank, devices = 0, 1

    def __init__(self, device: str, mixed: bool) -> None:
        self.device, self._mixed = torch.device(device), mixed

    def setup(self, network: nn.Module, optimiser: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Return network and optimiser as they are used in steps."""
        return network.to(self.device), optimiser

    def here(self, batch: Batch) -> Batch:
        """Return a batch on the device."""
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def arithmetic(self) -> AbstractContextManager[Any]:
        """Return the context in which networks are evaluated."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients, their mean over all devices."""
        loss.backward()  # type: ignore[no-untyped-call]

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a number over all devices."""
        return value

    def agree(self, token: CancelToken) -> None:
        """Wait while paused, and stop everywhere at the same step (`Cancelled`)."""
        token.check()

    @property
    def interruptible(self) -> bool:
        """Whether a step may be left in its middle: not when others wait for this one's gradients."""
        return self.devices == 1


class _SharedPlace(Place):
    """One of several processes."""

    def __init__(self, fabric: Fabric, mixed: bool) -> None:
        super().__init__(str(fabric.device), mixed)
        self._fabric, self.rank, self.devices = fabric, fabric.global_rank, fabric.world_size

    def setup(self, network: nn.Module, optimiser: Optimizer) -> tuple[nn.Module, Optimizer]:
        wrapped, optimiser = self._fabric.setup(network, optimiser)
        return wrapped, optimiser

    def backward(self, loss: Tensor) -> None:
        self._fabric.backward(loss)

    def mean(self, value: Tensor) -> Tensor:
        found: Tensor = self._fabric.all_reduce(value, reduce_op="mean")
        return found

    def agree(self, token: CancelToken) -> None:
        if self.rank == 0 and not token.cancelled:
            while token.paused and not token.cancelled:
                threading.Event().wait(0.05)
        stop = torch.tensor(float(token.cancelled), device=self.device)
        if float(self._fabric.all_reduce(stop, reduce_op="sum")) > 0:
            raise Cancelled


def on_devices(work: Work, device: str, count: int, mixed: bool, token: CancelToken) -> Iterator[Event]:
    """Yield the events of `work` done on `count` devices.

    Parameters
    ----------
    work : callable
        Picklable when `count` is above 1.
    device : str
        ``"cpu"``, ``"cuda"`` ...; with several devices its kind counts.
    """
    if count == 1:
        yield from work(Place(device, mixed), token)
        return
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise InputError(
            f"training on {count} devices needs lightning-fabric, found none; install napari-recon[train], or use one device"
        ) from None
    context = multiprocessing.get_context("spawn")
    shared, queue = CancelToken.shared(context), context.Queue()
    fabric = Fabric(accelerator=device.partition(":")[0], devices=count, strategy="ddp_spawn")
    failed: list[BaseException] = []

    def launch() -> None:
        try:
            fabric.launch(_process, work, mixed, torch.get_num_threads(), shared, queue)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=launch, name="training", daemon=True)
    thread.start()
    try:
        yield from _relayed(thread, queue, token, shared, failed)
    finally:
        shared.cancel()
        thread.join()


def _relayed(
    thread: threading.Thread, queue: Any, token: CancelToken, shared: CancelToken, failed: list[BaseException]
) -> Iterator[Event]:
    """Yield what comes through the queue until it says that all is done, passing the token's state on."""
    while True:
        if token.cancelled:
            shared.cancel()
        elif token.paused != shared.paused:
            (shared.pause if token.paused else shared.resume)()
        try:
            item = queue.get(timeout=0.1)
        except Empty:
            if not thread.is_alive() and queue.empty():
                raise EngineError(f"the training processes ended early ({failed[0] if failed else 'no reason'})") from None
            continue
        if item is None:
            return
        if isinstance(item, Cancelled) and not token.cancelled:
            continue  # by another process, which failed: its sentence follows
        if isinstance(item, ReconError | Cancelled):
            raise item
        yield item


def _process(fabric: Fabric, work: Work, mixed: bool, threads: int, token: CancelToken, queue: Any) -> None:
    """Do the work in one of several processes; rank 0 tells."""
    torch.set_num_threads(max(1, threads // fabric.world_size) if fabric.device.type == "cpu" else threads)
    end: object = None
    try:
        for event in work(_SharedPlace(fabric, mixed), token):
            if fabric.global_rank == 0:
                queue.put(event)
    except Cancelled as cancelled:
        end = cancelled
    except Exception as error:
        end = describe(error)
        if token.cancelled:
            end = Cancelled()
        token.cancel()
    if fabric.global_rank == 0 or isinstance(end, ReconError):
        queue.put(end)
        queue.close()
        queue.join_thread()
