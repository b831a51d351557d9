"""Which files are audio, which are new, and what their results are called."""

import pytest

from golem_chain.broker.watching.files import Entry, Signature, is_audio, is_new, result_name, stem

V1, V2 = Signature(10, 1_000), Signature(10, 900)  # the second is older: rsync keeps times
DONE = Entry(V1, "done", "asked", ("a.srt",))
FAILED, FOUND = Entry(V1, "failed", "asked"), Entry(V1, "found")


@pytest.mark.parametrize("file", ["a.wav", "A.WAV", "talks/2024/b.flac", "two\nlines.mp3", "n\udcff.ogg", "a.part.wav"])
def test_audio_is_known_by_its_ending(file):
    assert is_audio(file)


@pytest.mark.parametrize(
    "file",
    [
        "a.txt", "a.srt", "a", "wav", "a.wav.part", "a.wav.crdownload", "a.wav~", ".a.wav.Xy12ab", ".a.wav",
        "~$a.wav", ".trash/a.wav", "talks/.git/a.wav", "a.wav.tmp", "failures.jsonl", ".golem-1-2.part",
    ],
)  # fmt: skip
def test_what_is_hidden_or_half_written_is_no_audio(file):
    assert not is_audio(file)


@pytest.mark.parametrize(
    ("seen", "entry", "asked", "forms", "have", "retry", "new"),
    [
        (V1, None, "asked", ["srt"], False, False, True),
        (V1, None, "asked", ["srt"], True, False, False),
        (V1, DONE, "asked", ["srt"], False, True, False),
        (V2, DONE, "asked", ["srt"], True, False, True),
        (V1, DONE, "other", ["srt"], True, False, True),
        (V1, DONE, "asked", ["srt", "vtt"], False, False, True),
        (V1, DONE._replace(results=("a.srt", "a.vtt")), "asked", ["vtt"], False, False, False),
        (V1, FAILED, "asked", ["srt"], False, False, False),
        (V1, FAILED, "asked", ["srt"], False, True, True),
        (V2, FAILED, "asked", ["srt"], False, False, True),
        (V1, FOUND, "asked", ["srt"], True, True, False),
        (V2, FOUND, "asked", ["srt"], True, False, True),
    ],
)
def test_a_file_is_new_by_its_version_and_by_what_is_asked(seen, entry, asked, forms, have, retry, new):
    assert is_new(seen, entry, asked, forms, have_results=have, retry=retry) == new


def test_results_are_called_as_the_recording_or_keep_its_ending():
    assert result_name("talks/clip.wav", "srt", whole=False) == "talks/clip.srt"
    assert result_name("talks/clip.wav", "srt", whole=True) == "talks/clip.wav.srt"
    assert result_name("v1.2 final.mp3", "txt", whole=False) == "v1.2 final.txt"
    assert stem("talks/Clip.WAV") == stem("talks/clip.mp3") != stem("clip.wav")
