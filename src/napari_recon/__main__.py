"""``python -m napari_recon``."""

from __future__ import annotations

from napari_recon.cli import main

if __name__ == "__main__":
    main()
