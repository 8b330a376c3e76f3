"""What a format adapter hands over, and how its failures become one sentence."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_recon.core.errors import DiskFull, InputError, ReconError
from napari_recon.core.stack import ArrayLike


@dataclass(frozen=True)
class Found:
    """An array and what its file says about it; all of it may be incomplete.

    Attributes
    ----------
    data : array-like
    axes : str or None
        In the file's own alphabet.
    scale, translate, units : dict
        Per axis letter; units in any spelling.
    provenance : dict or None
    exact : bool
        Written by this package, so the axes need no guessing.
    """

    data: ArrayLike
    axes: str | None = None
    scale: Mapping[str, float] = field(default_factory=dict)
    translate: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False


Reader = Callable[[Path, str], Found]


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises on a bad file into one sentence."""
    try:
        yield
    except (ReconError, MemoryError, KeyboardInterrupt):
        raise
    except ImportError:
        raise
    except PermissionError:
        raise InputError(f"{path} can't be read (permission denied); choose a file you may read") from None
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        if "pickle" in reason:
            reason = "no array in it, or Python objects, which are refused"
        raise InputError(
            f"{path} should be a readable {kind} file, found damaged or other content ({reason}); "
            "check that the file is complete and its suffix is right"
        ) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn failures of a writer into one sentence (disk full, unwritable place)."""
    try:
        yield
    except ReconError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no space is left on the disk of {path}; free some or write elsewhere") from error
        reason = error.strerror or str(error)
        raise InputError(f"{path} can't be written ({reason}); choose a folder you may write to") from error


def optional(module: str, path: Path) -> Any:
    """Import an optional library, or say how to get it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise InputError(
            f"reading or writing {path.name} needs the library {module.partition('.')[0]}, which is not installed; "
            'install it with: pip install "napari-recon[io]"'
        ) from None
