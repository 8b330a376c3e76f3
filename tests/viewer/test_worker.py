"""The traps of generator workers, one test per row, so that an upstream change is noticed."""

from __future__ import annotations

import threading
import time

import pytest

from napari_recon.core.errors import EngineError, InputError
from napari_recon.core.token import CancelToken
from napari_recon.viewer.worker import call_in_background, make_worker
from tests.viewer.conftest import wait_for_workers

LOG: list = []


def steps(n: int, *, end=None, pause: float = 0.0, token: CancelToken | None = None):
    try:
        for i in range(n):
            if token is not None:
                token.check()
            time.sleep(pause)
            yield i
        if end is not None:
            raise end
        return "result"
    finally:
        LOG.append(("finally", threading.current_thread() is threading.main_thread()))


def started(qtbot, job, *args, token=None, quit_on: int | None = None, **kwargs) -> list:
    """Run a worker to its end; return its signals in order."""
    LOG.clear()

    def generator():
        return (yield from job(*args, **kwargs))

    worker = make_worker(generator, token=token or CancelToken())
    for name in ("started", "yielded", "returned", "errored", "aborted", "finished"):
        getattr(worker, name).connect(lambda *values, name=name: LOG.append((name, *values)))
    if quit_on is not None:
        worker.yielded.connect(lambda i: worker.quit() if i == quit_on else None)
    with qtbot.waitSignal(worker.finished, timeout=5000):
        worker.start()
    wait_for_workers()
    assert not worker.is_running
    return list(LOG)


def names(log: list) -> list[str]:
    return [entry[0] for entry in log]


def test_normal_end(qtbot):
    log = started(qtbot, steps, 2)
    assert names(log)[-2:] == ["returned", "finished"] and ("returned", "result") in log


@pytest.mark.parametrize(
    "error, kind, text",
    [
        (RuntimeError("size mismatch"), EngineError, "size mismatch"),
        (ValueError("odd"), ValueError, "odd"),
        (InputError("say why"), InputError, "say why"),
    ],
)
def test_every_error_arrives_and_the_worker_ends(qtbot, error, kind, text):
    log = started(qtbot, steps, 1, end=error)
    assert names(log)[-2:] == ["errored", "finished"]
    assert isinstance(log[-2][1], kind) and text in str(log[-2][1])


def test_quit_runs_the_cleanup_in_the_worker_thread_before_finished(qtbot):
    log = started(qtbot, steps, 1000, pause=0.005, quit_on=0)
    assert ("finally", False) in log
    assert names(log).index("finally") < names(log).index("finished")
    assert "returned" not in names(log) and names(log)[-1] == "finished"


def test_quit_reaches_inside_a_step_through_the_token(qtbot):
    token = CancelToken()

    def long_step():
        yield 0
        while True:
            token.check()
            time.sleep(0.002)

    log = started(qtbot, long_step, token=token, quit_on=0)
    assert token.cancelled
    assert names(log)[-1] == "finished"


def test_quit_while_the_token_is_paused(qtbot):
    token = CancelToken()

    def paused():
        yield 0
        token.pause()
        token.check()
        yield 1

    log = started(qtbot, paused, token=token, quit_on=0)
    assert names(log)[-1] == "finished" and ("yielded", 1) not in log


def test_calls_in_the_background_answer_in_the_main_thread(qtbot):
    answers: list = []
    main = threading.main_thread()

    def call(x):
        answers.append(threading.current_thread() is main)
        return 2 * x

    def done(x):
        answers.append((x, threading.current_thread() is main))

    call_in_background(call, 21, done=done, failed=answers.append)
    qtbot.waitUntil(lambda: len(answers) == 2, timeout=3000)
    assert answers == [False, (42, True)]


def test_failures_in_the_background_are_described(qtbot):
    errors: list = []

    def fail():
        raise FileNotFoundError("views.tif")

    call_in_background(fail, done=errors.append, failed=errors.append)
    qtbot.waitUntil(lambda: bool(errors), timeout=3000)
    assert isinstance(errors[0], InputError) and "check the path" in str(errors[0])


def test_a_dropped_call_stays_silent(qtbot):
    answers: list = []
    call_in_background(time.sleep, 0.05, done=answers.append, failed=answers.append).drop()
    wait_for_workers()
    qtbot.wait(50)
    assert answers == []


def test_calls_go_on_beside_paused_runs(qtbot):
    tokens = [CancelToken() for _ in range(3)]
    workers = []
    for token in tokens:
        token.pause()
        workers.append(make_worker(steps, 2, token=token))
        workers[-1].start()
    answers: list = []
    call_in_background(lambda: 1, done=answers.append, failed=answers.append)
    qtbot.waitUntil(lambda: answers == [1], timeout=3000)
    for token in tokens:
        token.cancel()
    wait_for_workers()
