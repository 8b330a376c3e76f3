"""Errors that reach people: each is one sentence saying what was expected, what was found and what to do."""

from __future__ import annotations

import errno


class ReconError(Exception):
    """Base of every error this package raises on purpose; `exit_code` is the command line's."""

    exit_code = 1


class InputError(ReconError):
    """The input, a parameter or the place to write to is unfit; the message names the remedy."""

    exit_code = 2


class CheckpointError(InputError):
    """A model file does not fit; the message is a readable difference."""


class DownloadError(InputError):
    """A model could not be fetched or its checksum is wrong."""


class OutOfMemory(ReconError):
    """Host or device memory ran out; smaller tiles are the remedy."""

    exit_code = 4


class DiskFull(ReconError):
    """The disk ran full while a result was written."""

    exit_code = 4


class EngineError(ReconError):
    """A defect of ours (or of a library below us) inside an engine."""


class Cancelled(Exception):
    """Raised by `CancelToken.check`. Not a RuntimeError: worker threads must never swallow it."""

    exit_code = 3


_AWAY = {
    getattr(errno, name)
    for name in "EIO ESTALE ENODEV ENXIO ENOTCONN ETIMEDOUT EHOSTDOWN EHOSTUNREACH ENETDOWN EREMOTEIO".split()
    if hasattr(errno, name)
}


def describe(error: BaseException) -> ReconError:
    """Return `error` as a `ReconError` whose message a user can act on.

    Parameters
    ----------
    error : BaseException
        Anything that escaped from an engine, a reader or a writer.

    Returns
    -------
    ReconError
        The error itself when it already is one.
    """
    if isinstance(error, ReconError):
        return error
    text = str(error).strip() or type(error).__name__
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if out_of_memory or "out of memory" in text.lower() or "can't allocate memory" in text.lower():
        return OutOfMemory(
            "the computation needed more memory than is free; choose a smaller tile_size or a smaller region "
            f"({text.splitlines()[0]})"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"no space is left where the result is written ({text}); free some or write elsewhere")
    if isinstance(error, PermissionError):
        return InputError(f"permission was denied ({text}); choose a place you may read or write")
    if isinstance(error, FileNotFoundError):
        return InputError(f"a file that exists was expected ({text}); check the path")
    if isinstance(error, NotADirectoryError | IsADirectoryError | FileExistsError):
        return InputError(f"a file is where a folder should be, or the other way round ({text}); choose another place")
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP):
        return InputError(f"the place can't be used ({text}); choose another one")
    if isinstance(error, OSError) and error.errno in _AWAY:
        return InputError(f"the disk or network share does not answer ({text}); bring it back, then try again")
    return EngineError(f"unexpected {type(error).__name__}: {text}")
