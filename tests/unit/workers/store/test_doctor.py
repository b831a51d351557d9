"""The store's part of `golem doctor`."""

from golem_chain.shared.settings import Settings
from golem_chain.workers.store import doctor
from golem_chain.workers.store.manifest import Checkpoint
from golem_chain.workers.store.sources.pull import pull
from golem_chain.workers.store.verdicts import Tried, Verdict, binding_of, write
from tests.support.store_pulls import QUIET


def test_missing_models_are_wrong_and_pulled_ones_are_not(three):
    found = doctor.check(doctor.read(three))
    assert [(one.check, one.state) for one in found] == [
        ("model-scribe", "wrong"), ("model-interpreter", "wrong"), ("model-oracle", "wrong"),
    ]  # fmt: skip
    assert all(one.remedy == "run `golem models pull`" for one in found)
    assert doctor.needs(three, doctor.read(three), None) == {}
    pull(three, show=QUIET)
    read = doctor.read(three)
    assert {one.state for one in doctor.check(read)} == {"ok"}
    assert all(size > 1000 for size in doctor.needs(three, read, None).values())
    [weights] = (three.store / "oracle").glob("*/*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    assert [one.check for one in doctor.check(doctor.read(three)) if one.state == "wrong"] == ["model-oracle"]


def test_memory_is_counted_in_the_form_that_runs(three):
    pull(three, show=QUIET)
    read = doctor.read(three)
    checkpoint = read["oracle"]
    assert isinstance(checkpoint, Checkpoint)
    whole = doctor.needs(three, read, None)["oracle"]
    tried = (Tried("bfloat16", True, 2.0),)
    write(checkpoint, Verdict(binding_of(checkpoint, None), 96, 0, tried, "a processor", 1.0, "2026-01-02"))
    auto = three.model_copy(update={"dtype": "auto"})
    assert doctor.needs(auto, read, None)["oracle"] * 2 == whole, "bfloat16 was proved"
    asked = auto.model_copy(update={"dtype": "float32"})
    assert doctor.needs(asked, read, None)["oracle"] == whole, "float32 is asked for"
    packed = auto.model_copy(update={"bits": "8"})
    assert doctor.needs(packed, read, None)["oracle"] <= whole


def test_a_store_that_does_not_exist_yet_is_on_some_disk(tmp_path):
    assert "are free at" in doctor.disk(Settings.read(_env_file=None, store=tmp_path / "a" / "b")).message


def test_little_space_is_a_warning(tmp_path):
    assert doctor.space(doctor.LEAST_FREE_BYTES - 1, tmp_path).state == "warning"
    assert doctor.space(doctor.LEAST_FREE_BYTES, tmp_path).state == "ok"
