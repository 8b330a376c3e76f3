"""Downloads from a local server: checksum, progress, and nothing left when something goes wrong."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from napari_recon import hub
from napari_recon.core.errors import DownloadError, InputError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, checkpoint):
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "net.pth").write_bytes(checkpoint.read_bytes())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def offer(built_in, url, sha256):
    card = hub.ModelCard(id="far", engine="toy.sharpen", architecture="toynet", options={"views": 9}, url=url, sha256=sha256)
    (built_in / "far.json").write_text(card.to_json())


def left_over():
    return [p for p in hub.cache_folder().rglob("*") if p.is_file()]


def test_fetch_stores_and_resolves(server, built_in, checkpoint):
    offer(built_in, f"{server}/net.pth", hub.sha256(checkpoint))
    seen = []
    card = hub.fetch("far", progress=lambda done, total: seen.append((done, total)))
    assert card.available
    size = checkpoint.stat().st_size
    assert seen[-1] == (size, size)
    assert hub.resolve("far").sha256 == hub.sha256(checkpoint)
    assert set(hub.load_state(hub.resolve("far"))) == {"body.weight", "body.bias"}
    assert [c.origin for c in hub.catalogue()] == ["downloadable"]
    assert hub.fetch("far") == hub.find("far")
    hub.remove("far")
    assert not hub.find("far").available
    assert left_over() == []


def test_a_wrong_checksum_leaves_nothing(server, built_in):
    offer(built_in, f"{server}/net.pth", "0" * 64)
    with pytest.raises(DownloadError, match="checksum"):
        hub.fetch("far")
    assert left_over() == []


def test_a_missing_file_leaves_nothing(server, built_in):
    offer(built_in, f"{server}/other.pth", "0" * 64)
    with pytest.raises(DownloadError, match="try again"):
        hub.fetch("far")
    assert left_over() == []


def test_offline_is_a_sentence(built_in):
    offer(built_in, "http://127.0.0.1:9/net.pth", "0" * 64)
    with pytest.raises(DownloadError, match="check the connection"):
        hub.fetch("far")
    assert left_over() == []


def test_models_without_a_download(checkpoint, built_in):
    hub.import_model(checkpoint, "mine")
    assert hub.fetch("mine").origin == "imported"
    offer(built_in, "http://127.0.0.1:9/net.pth", "")
    with pytest.raises(InputError, match="no download"):
        hub.fetch("far")


def test_nothing_is_fetched_when_downloads_are_off(server, built_in, checkpoint, monkeypatch):
    offer(built_in, f"{server}/net.pth", hub.sha256(checkpoint))
    monkeypatch.setenv("NAPARI_RECON_OFFLINE", "1")
    with pytest.raises(DownloadError, match="downloads are off"):
        hub.fetch("far")
