"""Where the sample files lie: inside the installed package, or in the source tree's ``sample_data``."""

from __future__ import annotations

from pathlib import Path

from napari_recon.core.errors import InputError

_PLACES = (Path(__file__).parent / "data", Path(__file__).parents[3] / "sample_data")
_SUFFIXES = (".tif", ".pt", ".npy", ".csv")


def path(name: str) -> Path:
    """Return the sample file called `name`, with or without its suffix (``"lightfield"``).

    Raises
    ------
    InputError
        When there is no such file; the message lists what there is.
    """
    for folder in _PLACES:
        for candidate in (folder / name, folder / f"{name}.ome.tif"):
            if Path(name).name == name and candidate.is_file():
                return candidate
    known = ", ".join(names()) or "none (install the package again)"
    raise InputError(f"there is no sample file {name!r}; choose one of {known}")


def names() -> list[str]:
    """Return the names of the sample files, sorted."""
    folder = next((place for place in _PLACES if place.is_dir()), None)
    return sorted(file.name for file in folder.iterdir() if file.suffix in _SUFFIXES) if folder else []
