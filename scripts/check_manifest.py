"""Check the installed package's napari manifest: it is found and valid, and every command it names can be imported."""

from __future__ import annotations

import sys
from pathlib import Path

import napari_recon


def main() -> int:
    """Check the manifest; any problem is an exception."""
    from npe2 import PluginManager, PluginManifest

    folder = Path(napari_recon.__file__).parent
    manifest = PluginManifest.from_file(folder / "napari.yaml")
    manifest.validate_imports()
    manager = PluginManager()
    manager.discover()
    assert "napari-recon" in manager, "napari does not find the plugin by its entry point"
    commands = manifest.contributions.commands or []
    sys.stdout.write(f"{folder}: {len(commands)} commands, all importable\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
