"""``napari-recon``, and ``python -m napari_recon``."""

from __future__ import annotations

import os
import signal
from typing import Any


def main() -> None:
    """Run the command line; Ctrl-C before anything has begun ends it with the code that it has later."""
    signal.signal(signal.SIGINT, _quit)
    from napari_recon.cli import main as run

    run()


def _quit(number: int, frame: Any) -> None:
    """End at once: while libraries are loaded, an exception may be swallowed, and nothing is there to be put away."""
    os.write(2, b"cancelled\n")
    os._exit(3)


if __name__ == "__main__":
    main()
