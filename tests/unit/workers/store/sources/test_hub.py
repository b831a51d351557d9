"""Checkpoints from the hub: the commit is recorded, `auto` is decided once, an unreachable hub gives one sentence."""

import hashlib
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from golem_chain.shared.errors import HubAway, ModelCorrupt
from golem_chain.workers.store import catalog, find
from golem_chain.workers.store.catalog import Offer
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.sources import hub
from golem_chain.workers.store.sources.pull import pull
from tests.support.store_models import bert, gpt2, same_weights, whisper
from tests.support.store_pulls import QUIET, Lines, settings_of

COMMIT = "c0ffee" + "0" * 34


@pytest.fixture
def fake_hub(tmp_path, monkeypatch):
    """A local hub server with three small checkpoints; returns the folder that it serves."""
    pytest.importorskip("huggingface_hub")
    served = tmp_path / "served"
    for name, model in zip(("a/whisper", "a/bert", "a/gpt2"), (whisper(), bert(), gpt2()), strict=True):
        model.save_pretrained(served / name)
        (served / name / "evil.py").write_text("raise SystemExit")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            parts = self.path.strip("/").split("?")[0].split("/")
            if parts[:2] == ["api", "models"]:
                folder = served / "/".join(parts[2:4])
                if not folder.is_dir():
                    return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                files = sorted(folder.iterdir())
                siblings = [{"rfilename": p.name, "size": p.stat().st_size, **self.large(p)} for p in files]
                info = {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": siblings, "tags": ["license:mit"]}
                return self.answer(200, json.dumps(info).encode())
            assert parts[2:4] == ["resolve", COMMIT]
            path = served / parts[0] / parts[1] / parts[4]
            tag = hashlib.sha256(path.read_bytes()).hexdigest()
            return self.answer(200, path.read_bytes(), {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})

        def large(self, path):
            if path.suffix != ".safetensors":
                return {}
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            return {"lfs": {"sha256": digest, "size": path.stat().st_size, "pointerSize": 130}}

        def answer(self, status, body, headers=None):
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        for profile in ("quest",):
            offers = zip(catalog.STAGES, ("a/whisper", "a/bert", "a/gpt2"), strict=True)
            small = {stage: Offer(stage, name, hub=name) for stage, name in offers}
            monkeypatch.setattr(catalog, "_PROFILES", {**catalog._PROFILES, profile: small})
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture
def no_hub(monkeypatch):
    """A hub that refuses every connection."""
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def test_auto_becomes_quest_when_the_hub_answers_and_the_commit_is_recorded(fake_hub, tmp_path):
    chosen, said = settings_of(tmp_path), Lines()
    found = pull(chosen, show=said)
    assert "GOLEM_MODELS=auto becomes quest" in said.lines[0]
    assert {c.revision for c in found.values()} == {COMMIT}
    assert {c.licence for c in found.values()} == {"mit"}
    assert json.loads((chosen.store / "choice.json").read_text())["profile"] == "quest"
    assert not list(chosen.store.rglob("evil*"))
    assert same_weights(Weights(find(chosen, "oracle"), type(gpt2())).load(), gpt2())


def test_the_choice_is_made_once(fake_hub, tmp_path, monkeypatch):
    chosen = settings_of(tmp_path)
    pull(chosen, show=QUIET)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said = Lines()
    pull(chosen, show=said)
    assert not any("becomes" in line for line in said.lines)
    assert find(chosen, "scribe").id == "a/whisper"


@pytest.mark.usefixtures("no_hub", "index")
def test_auto_becomes_bundled_when_the_hub_does_not_answer(tmp_path, monkeypatch, three):
    small = {s: Offer(s, str(tmp_path / s), "MIT", path=tmp_path / s) for s in catalog.STAGES}
    monkeypatch.setattr(catalog, "_PROFILES", {**catalog._PROFILES, "bundled": small})
    chosen, said = settings_of(tmp_path), Lines()
    pull(chosen, show=said)
    assert "is not reachable: GOLEM_MODELS=auto becomes bundled" in said.lines[0]
    assert find(chosen, "oracle").id == str(tmp_path / "oracle")


@pytest.mark.usefixtures("no_hub")
def test_a_hub_that_is_away_is_one_sentence_with_the_remedy(tmp_path):
    with pytest.raises(HubAway, match=r"--profile bundled.*GOLEM_SCRIBE_MODEL to a local folder") as caught:
        pull(settings_of(tmp_path, models="quest"), show=QUIET)
    assert "\n" not in caught.value.message
    assert not list((tmp_path / "store").glob(".tmp-*"))


def test_an_unknown_repository_is_named(fake_hub, tmp_path):
    with pytest.raises(HubAway, match="a/nothing does not exist on the hub"):
        pull(settings_of(tmp_path, scribe_model="a/nothing"), stages=("scribe",), show=QUIET)


def test_a_file_with_other_bytes_than_the_hub_states_is_refused(fake_hub, tmp_path):
    offer = Offer("oracle", "a/gpt2", hub="a/gpt2")
    listing = hub.listing(offer)
    wrong = replace(listing, hashes={"model.safetensors": "0" * 64})
    with pytest.raises(ModelCorrupt, match="does not match the hash that the hub states"):
        hub.download(offer, wrong, tmp_path / "down", lambda done, total: None)


def test_a_hub_that_is_switched_off_is_not_asked(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "listing", None)
    assert not hub.answers(Offer("scribe", "a/whisper", hub="a/whisper"))
