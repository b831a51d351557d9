"""Names of downloads: readable, and unable to leave their header or name a folder."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.doors.jobs.downloads import disposition


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("clip.wav", 'attachment; filename="clip.srt"'),
        ("/home/me/clip one.wav", 'attachment; filename="clip one.srt"'),
        ("C:\\Users\\me\\clip.mp3", 'attachment; filename="clip.srt"'),
        ("Küche.wav", "attachment; filename=\"Kuche.srt\"; filename*=UTF-8''K%C3%BCche.srt"),
        ("кухня.ogg", "attachment; filename=\"result.srt\"; filename*=UTF-8''%D0%BA%D1%83%D1%85%D0%BD%D1%8F.srt"),
        ('a".wav', "attachment; filename=\"a_.srt\"; filename*=UTF-8''a%22.srt"),
        ("../..", 'attachment; filename="result.srt"'),
        ("", 'attachment; filename="result.srt"'),
        ("v1.2 final", 'attachment; filename="v1.2 final.srt"'),
    ],
)
def test_a_download_is_named_after_its_job(name, header):
    assert disposition(name, "srt") == header


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_name_leaves_its_header_or_names_a_folder(name):
    header = disposition(name, "srt")
    assert header.isascii()
    assert re.fullmatch(
        r"attachment; filename=\"[^\"\\/\r\n]+\.srt\"(; filename\*=UTF-8''[A-Za-z0-9._~%-]+\.srt)?", header
    )
    assert "%2F" not in header
    assert len(header) < 2000
