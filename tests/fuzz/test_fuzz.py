"""Untrusted input gives a record or a one-sentence error, quickly: records, labels, names, dead letters."""

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from golem_chain.broker.cli.arguments.audio_paths import expand
from golem_chain.broker.jobs.records import Finished
from golem_chain.broker.jobs.vault import read_file, within
from golem_chain.broker.transport.dead_letter import Letter
from golem_chain.shared.errors import BadAudio, BadLabels, BadRequest, GolemError
from golem_chain.shared.labels import parse_labels
from golem_chain.shared.records import Handover, Outcome
from golem_chain.shared.text import visible
from tests.support.messages import WHOLE, harmless, places, swapped

QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def sentence(exc: GolemError) -> str:
    """Return the error's message and check that it can be displayed."""
    assert 10 < len(exc.message) < 1000
    exc.message.encode()
    return exc.message


def stored(job: object, transcript: object) -> Finished:
    """Return a job's hash with any JSON in its fields."""
    return Finished({b"job": json.dumps(job).encode(), b"transcript": json.dumps(transcript).encode()}, ended=False)


@QUICK
@given(anything, anything)
def test_any_json_in_a_record_is_a_handover_or_none(job: object, transcript: object) -> None:
    assert isinstance(stored(job, transcript).handover, Handover | None)


@QUICK
@given(st.sampled_from(places(WHOLE)), anything)
def test_a_record_with_one_wrong_value_is_a_handover_or_none(place: tuple[object, ...], value: object) -> None:
    told = swapped(WHOLE, place, value)
    whole: dict[str, object] = told if isinstance(told, dict) else {}
    found = stored(whole.get("job"), whole.get("transcript")).handover
    if found is not None:
        assert Handover.model_validate_json(found.model_dump_json()).job.id == found.job.id


@QUICK
@given(st.binary(max_size=300))
def test_an_outcome_that_is_none_is_a_validation_error(body: bytes) -> None:
    with pytest.raises(ValidationError):
        Outcome.model_validate_json(body)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.integers(1, 100_000))
@example('"', 100_000)
@example("a=|", 30_000)
@example("\u202e,", 50_000)
def test_labels_of_any_length_are_a_set_or_one_sentence_within_a_second(piece: str, length: int) -> None:
    text = (piece * (length // max(1, len(piece)) + 1))[:length]
    started = time.thread_time()  # CPU time, so that other programs do not count
    try:
        assert parse_labels(text).labels
    except BadLabels as exc:
        sentence(exc)
    assert time.thread_time() - started < 1


@pytest.mark.parametrize(
    "labels", [",".join(f"label_{n}" for n in range(10_000)), "x" * 1_000_000, "a=" + "y" * 1_000_000, ""]
)
def test_ten_thousand_labels_a_megabyte_and_nothing_are_refused_in_one_sentence(labels: str) -> None:
    started = time.thread_time()
    with pytest.raises(BadLabels) as refused:
        parse_labels(labels)
    assert harmless(sentence(refused.value))
    assert time.thread_time() - started < 0.5


@QUICK
@given(st.text(max_size=200))
@example("a\nb")
@example("\u202egpj.wav")
@example("\ud800")
@example("x" * 4000)
@example("[")
@example("\0")
def test_any_name_is_a_file_or_one_sentence_that_cannot_act(tmp_path: Path, name: str) -> None:
    word = str(tmp_path / "nonesuch") + "/" + name
    with pytest.raises(BadRequest) as refused:
        expand([word], io.BytesIO())
    assert harmless(sentence(refused.value))


@QUICK
@given(st.text(max_size=100), st.integers(0, 50))
def test_what_is_shown_is_printable_and_no_longer_than_asked(text: str, most: int) -> None:
    shown = visible(text, most + 4)
    assert harmless(shown)
    assert len(shown) <= most + 4


@QUICK
@given(st.binary(max_size=200) | anything.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"raw": "{\\"headers\\": {\\"id\\": \\"\\u001b[2J.scribe\\", \\"task\\": \\"golem.scribe\\"}}"}')
@example(b'{"raw": 7, "at": "x", "deliveries": [], "queue": {}, "error": ["\\u202e"]}')
def test_any_dead_letter_can_be_listed_and_shown_and_does_not_act(body: bytes) -> None:
    letter = Letter(body)
    for told in (letter.summary(), letter.shown()):
        for value in told.values():
            assert not isinstance(value, str) or harmless(value)
        json.dumps(told)
    assert letter.job is None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "is a pipe, socket or device"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe, socket or device"),
        (lambda path: path.symlink_to(path), "cannot be opened"),
        (lambda path: None, "cannot be opened"),
    ],
)
@pytest.mark.parametrize("name", ["plain", "new\nline", "\u202ebidi", "x" * 255, "*.wav"])
def test_what_is_no_file_is_never_read(tmp_path: Path, make: Callable[[Path], None], says: str, name: str) -> None:
    path = tmp_path / name
    make(path)
    started = time.monotonic()
    with pytest.raises((BadRequest, BadAudio), match=says) as refused:
        read_file(path, 1000)
    assert harmless(refused.value.message)
    assert time.monotonic() - started < 30  # opening a pipe or reading a device would hang


@QUICK
@given(st.text(max_size=60))
@example("../outside.wav")
@example("link/outside.wav")
@example("/etc/passwd")
def test_no_reference_leads_out_of_the_root(tmp_path: Path, reference: str) -> None:
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    (tmp_path / "outside.wav").write_bytes(b"secret")
    if not (root / "link").exists():
        (root / "link").symlink_to(tmp_path)
    for path in (root / reference, Path(reference)):
        try:
            found, said = within(path, (root,)), ""
        except BadAudio as exc:
            found, said = root, sentence(exc)
        assert found.is_relative_to(root.resolve())
        assert harmless(said)
