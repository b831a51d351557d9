"""The store's part of `golem doctor`."""

from golem_chain.shared.settings import Settings
from golem_chain.workers.store import doctor
from golem_chain.workers.store.sources.pull import pull
from tests.support.store_pulls import QUIET


def test_missing_models_are_wrong_and_pulled_ones_are_not(three):
    found = doctor.check(doctor.read(three))
    assert [(one.check, one.state) for one in found] == [
        ("model-scribe", "wrong"), ("model-interpreter", "wrong"), ("model-oracle", "wrong"),
    ]  # fmt: skip
    assert all(one.remedy == "run `golem models pull`" for one in found)
    assert doctor.weights(doctor.read(three)) == {}
    pull(three, show=QUIET)
    read = doctor.read(three)
    assert {one.state for one in doctor.check(read)} == {"ok"}
    assert all(size > 1000 for size, _ in doctor.weights(read).values())
    [weights] = (three.store / "oracle").glob("*/*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    assert [one.check for one in doctor.check(doctor.read(three)) if one.state == "wrong"] == ["model-oracle"]


def test_a_store_that_does_not_exist_yet_is_on_some_disk(tmp_path):
    assert "are free at" in doctor.disk(Settings.read(_env_file=None, store=tmp_path / "a" / "b")).message


def test_little_space_is_a_warning(tmp_path):
    assert doctor.space(doctor.LEAST_FREE_BYTES - 1, tmp_path).state == "warning"
    assert doctor.space(doctor.LEAST_FREE_BYTES, tmp_path).state == "ok"
