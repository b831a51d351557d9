"""Forms in parts: the same is read however the bytes are cut, and nothing grows."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.multipart import Parts

DATA = b"\r\n--x\r\r\n--xy--\r\n\x00\xff" * 3
FORM = (
    b'--xyz\r\nContent-Disposition: form-data; name="labels"\r\n\r\na,b\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xa4.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    + DATA
    + b'\r\n--xyz\r\ncontent-disposition: form-data; name="stop"\r\n\r\nscribe\r\n--xyz--\r\n'
)


def read(chunks, boundary=b"xyz", files_most=1):
    """Return the fields, and the files with their names."""
    parts, files = Parts(boundary, files_most), list[tuple[str, bytearray]]()
    for chunk in chunks:
        for event, told in parts.feed(chunk):
            if event == "file":
                files.append((told.decode(), bytearray()))
            elif event == "data":
                files[-1][1].extend(told)
    parts.finish()
    return parts.fields, files


@given(st.lists(st.integers(0, len(FORM)), max_size=8))
def test_a_form_is_the_same_wherever_its_bytes_are_cut(cuts):
    places = [0, *sorted(cuts), len(FORM)]
    chunks = [FORM[one:other] for one, other in pairwise(places)]
    assert read(chunks) == ([("labels", "a,b"), ("stop", "scribe")], [("\xe4.wav", bytearray(DATA))])


@given(st.integers(0, len(FORM) - 5))
def test_a_form_that_ends_early_is_refused(end):
    with pytest.raises(HttpError) as error:
        read([FORM[:end]])
    assert error.value.status == 400
    assert error.value.message.startswith("The form cannot be read")


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_any_bytes_are_a_form_or_one_sentence(data, boundary):
    told = "Read."
    try:
        read([data[:100], data[100:]], boundary)
    except HttpError as exc:
        told = exc.message
    assert told.endswith(".")
    assert "\n" not in told


def test_a_file_of_pieces_like_a_boundary_comes_in_one_event_for_each_chunk():
    parts = Parts(b"xyz", 1)
    parts.feed(b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')
    assert [event for event, _ in parts.feed(b"\r\n--xy\r" * 5000)] == ["data"]


def test_what_is_kept_of_a_large_file_is_nothing():
    parts = Parts(b"xyz", 1)
    parts.feed(b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')
    tracemalloc.start()
    try:
        for _ in range(300):
            parts.feed(b"x" * 65536)
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["..", "a/b", "", "\udcff"])
def test_a_file_in_another_field_is_refused_by_its_name(name):
    body = b'--x\r\nContent-Disposition: form-data; name="'
    body += name.encode("utf-8", "surrogateescape") + b'"; filename="a"\r\n\r\nb\r\n--x--\r\n'
    with pytest.raises(HttpError, match="Send files in the field file"):
        read([body], b"x")
