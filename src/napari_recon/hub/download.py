"""Downloading a model on request, with checksum; nothing else in the package touches the network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from napari_recon.core.errors import DownloadError, InputError
from napari_recon.core.settings import OFFLINE, may_download
from napari_recon.hub.card import ModelCard, cache_folder
from napari_recon.hub.menu import find, store

Progress = Callable[[int, int], None]


def fetch(id: str, progress: Progress | None = None) -> ModelCard:
    """Download a catalogue model into the cache and return its card; one that is already there is kept.

    Parameters
    ----------
    id : str
    progress : callable, optional
        ``progress(done_bytes, total_bytes)``; total is 0 when the server does not say.

    Raises
    ------
    InputError
        Unknown id, or a model without a download.
    DownloadError
        No connection, or a wrong checksum; nothing is kept then.
    """
    card = find(id)
    if card.available:
        return card
    if not card.url or not card.sha256:
        raise InputError(f"model {card.id} has no download; import its file instead (napari-recon models import FILE)")
    if not may_download():
        raise DownloadError(
            f"model {card.id} is not here and downloads are off (Preferences, or {OFFLINE}); allow them, or import its file"
        )
    import pooch

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    name = card.url.rsplit("/", 1)[-1].partition("?")[0]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as place:
        try:
            downloader = pooch.HTTPDownloader(progressbar=_Bar(progress) if progress else False, timeout=30)
            if card.url.startswith("doi:"):
                downloader = pooch.DOIDownloader(progressbar=_Bar(progress) if progress else False, timeout=30)
            weights = pooch.retrieve(
                card.url, known_hash=f"sha256:{card.sha256}", fname=name, path=place, downloader=downloader
            )
        except ValueError as error:
            if "hash" not in str(error).lower():
                raise DownloadError(
                    f"model {card.id} could not be fetched from {card.url} ({error}); try again later"
                ) from None
            raise DownloadError(
                f"the download of model {card.id} has another checksum than its card says, so it was thrown away; "
                "try again, or ask where it comes from"
            ) from None
        except Exception as error:
            reason = type(error).__name__
            raise DownloadError(
                f"model {card.id} could not be fetched from {card.url} ({reason}); check the connection and try again"
            ) from error
        return store(card, Path(weights), Path(name).suffix or ".pt", move=True)


class _Bar:
    """What pooch expects of a progress bar, relayed to a function."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.total = 0
        self._done = 0

    def update(self, count: int) -> None:
        self._done += count
        self._progress(self._done, int(self.total or 0))

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        return None
