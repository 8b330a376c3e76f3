from __future__ import annotations

import errno
import multiprocessing
import threading
import time

import pytest

from napari_recon.core.errors import Cancelled, DiskFull, EngineError, InputError, OutOfMemory, describe
from napari_recon.core.token import CancelToken


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (MemoryError(), OutOfMemory, 4),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), OutOfMemory, 4),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), OutOfMemory, 4),
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull, 4),
        (PermissionError(13, "Permission denied", "/x"), InputError, 2),
        (FileNotFoundError(2, "No such file", "a.tif"), InputError, 2),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/file/models"), InputError, 2),
        (FileExistsError(errno.EEXIST, "File exists", "/file"), InputError, 2),
        (OSError(errno.EROFS, "Read-only file system", "/x"), InputError, 2),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), InputError, 2),
        (RuntimeError("size mismatch"), EngineError, 1),
        (InputError("expected a, found b; do c"), InputError, 2),
    ],
)
def test_errors_are_described(error: Exception, kind: type, code: int) -> None:
    described = describe(error)
    assert type(described) is kind and described.exit_code == code and str(described)


def test_cancelled_is_no_runtime_error() -> None:
    assert not issubclass(Cancelled, RuntimeError)


def test_cancel_releases_a_pause() -> None:
    token = CancelToken()
    token.check()
    token.pause()
    assert token.paused
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            token.check()
        except Cancelled as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.05)
    assert thread.is_alive()
    token.cancel()
    thread.join(60)
    assert outcome and not thread.is_alive()


def test_pausing_after_cancel_does_not_hang() -> None:
    token = CancelToken()
    token.cancel()
    token.pause()
    with pytest.raises(Cancelled):
        token.check()


def _child(token: CancelToken, queue: object) -> None:
    try:
        while True:
            token.check()
            time.sleep(0.01)
    except Cancelled:
        queue.put("cancelled")  # type: ignore[attr-defined]


def test_a_shared_token_cancels_a_child_process() -> None:
    context = multiprocessing.get_context("spawn")
    token, queue = CancelToken.shared(context), context.Queue()
    process = context.Process(target=_child, args=(token, queue))
    process.start()
    token.cancel()
    assert queue.get(timeout=60) == "cancelled"
    process.join(20)


def test_finishing_releases_a_pause_and_stops_nothing_by_itself() -> None:
    token = CancelToken.shared()
    assert not token.finishing
    token.pause()
    token.finish()
    assert token.finishing and not token.paused and not token.cancelled
    token.check()
