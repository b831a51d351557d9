"""Limits and names of uploads."""

import pytest

from golem_chain.broker.doors.door import Caller, Limits
from golem_chain.broker.doors.intake.uploads import NAME_MOST, file_name, limit_of
from golem_chain.shared.errors import AudioAboveLimit
from golem_chain.shared.settings import Settings


@pytest.mark.parametrize(
    ("key", "audio", "vault", "most", "who"),
    [
        (None, 300, 200, 200, "GOLEM_VAULT_LIMIT"),
        (None, 100, 200, 100, "GOLEM_AUDIO_MAX_BYTES"),
        (50, 100, 200, 50, "the limit of your key"),
        (500, 100, 200, 100, "GOLEM_AUDIO_MAX_BYTES"),
        (0, 100, 200, 0, "the limit of your key"),
    ],
)
def test_the_smallest_limit_counts_and_says_who_can_raise_it(key, audio, vault, most, who):
    settings = Settings.read(_env_file=None, audio_max_bytes=audio, vault_limit=vault)
    limit = limit_of(Caller("a", "a", limits=Limits(upload_bytes=key)), settings)
    assert limit.size_bytes == most
    limit.check(most)
    with pytest.raises(AudioAboveLimit, match=who):
        limit.check(most + 1)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("clip.wav", "clip.wav"), ("/etc/passwd", "passwd"), ("C:\\x\\clip.wav", "clip.wav"), ("", "audio"),
        ("a/", "audio"), (" \t", "audio"), ("\udcff.wav", "\\xff.wav"),
        ("x" * 300 + ".wav", "x" * (NAME_MOST - 4) + ".wav"),
    ],
)  # fmt: skip
def test_a_file_has_a_name_without_folders(given, name):
    assert file_name(given) == name
