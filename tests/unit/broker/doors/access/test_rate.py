"""Rates, paths and the pace of a body."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.doors.access import limits, paths
from golem_chain.broker.doors.access.pace import Pace
from golem_chain.broker.doors.access.rate import Buckets, place_of, take
from golem_chain.broker.doors.errors import HttpError


def test_a_bucket_gives_what_it_holds_and_then_says_how_long_to_wait():
    assert take(2, 0, 2, 1) == (1, 0)
    assert take(0, 0, 2, 0.5) == (0, 2)
    assert take(0, 2, 2, 0.5) == (0, 0)
    assert take(0, 1e9, 2, 0.5).tokens == 1


@given(st.lists(st.floats(0, 100), max_size=200), st.integers(1, 20), st.floats(0.1, 10))
def test_no_series_of_requests_gets_more_than_the_rate(gaps, most, per_s):
    buckets, now, got = Buckets(), 0.0, 0
    for gap in gaps:
        now += gap
        got += not buckets.take("a", now, most, per_s).wait_s
    assert got <= most + now * per_s + 1e-6


def test_who_waits_as_long_as_told_gets_a_token():
    buckets, now = Buckets(), 0.0
    for _ in range(20):
        wait_s = buckets.take("a", now, 3, 0.7).wait_s
        if wait_s:
            now += wait_s + 1e-9
            assert buckets.take("a", now, 3, 0.7).wait_s == 0


def test_names_have_buckets_of_their_own_and_the_table_does_not_grow():
    buckets = Buckets(names=10)
    for n in range(10_000):
        assert buckets.take(str(n), 0, 1, 1).wait_s == 0
    assert len(buckets) == 10
    assert buckets.take("9999", 0, 1, 1).wait_s


def test_a_clock_that_stands_still_or_goes_back_fills_nothing():
    assert take(0, -5, 2, 1).wait_s == 1


@pytest.mark.parametrize(
    ("address", "place"),
    [("10.0.0.7", "10.0.0.7"), ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ffff:2", "2001:db8::/64"),
     ("::ffff:10.0.0.7", "10.0.0.7"), ("", "elsewhere"), ("evil\n", "elsewhere"), ("x" * 1000, "elsewhere")],
)  # fmt: skip
def test_an_address_is_one_place_whatever_host_part_of_ipv6_it_takes(address, place):
    assert place_of(address) == place


def seconds_until_cut(size_bytes, gap_s, most_s=10_000):
    """Feed a body `size_bytes` each `gap_s`, and return when the patience is at an end."""
    pace, now = Pace(), 0.0
    while now < most_s:
        if pace.wait_s < gap_s or not pace.wait_s:
            return now + pace.wait_s
        pace.came(size_bytes, gap_s)
        now += gap_s
    return None


def test_a_slow_link_may_send_for_hours():
    assert seconds_until_cut(2 * limits.BODY_RATE, 1) is None
    assert seconds_until_cut(60_000, 29) is None


def test_a_silent_client_is_cut_and_so_is_one_that_drips():
    assert seconds_until_cut(10, 1e9) == limits.BODY_IDLE_S
    assert seconds_until_cut(1, 29) <= limits.BODY_SLOW_S + limits.BODY_IDLE_S
    assert seconds_until_cut(100, 1) <= 1.2 * limits.BODY_SLOW_S


def test_bytes_that_came_early_buy_no_patience_for_later():
    pace = Pace()
    pace.came(1 << 30, 0)
    assert pace.wait_s == limits.BODY_IDLE_S
    pace.came(1, 29)
    pace.came(1, 29)
    assert pace.wait_s < 3


@pytest.mark.parametrize(
    "path",
    ["", "*", "http://evil.example/", "//", "/a//b", "/./a", "/a/../b", "/static/..", "/a\x00b", "/a\nb", "/a\\b",
     "/a\x7f", "/\ufffd"],
)  # fmt: skip
def test_paths_that_two_readers_may_read_differently_are_refused(path):
    with pytest.raises(HttpError) as refused:
        paths.check_path(path, path.encode(), b"")
    assert refused.value.status == 400


@pytest.mark.parametrize("path", ["/", "/docs/", "/v1/jobs/a.b-c_1", "/v1/models/openai/whisper-tiny", "/v1/labels/ü"])
def test_plain_paths_pass(path):
    paths.check_path(path, path.encode(), b"q=1")


def test_a_long_url_is_414():
    for raw, query in ((b"/" + b"a" * 100_000, b""), (b"/", b"q=" + b"a" * 100_000)):
        with pytest.raises(HttpError) as refused:
            paths.check_path(raw.decode(), raw, query)
        assert refused.value.status == 414


@pytest.mark.parametrize("query", [b"key=a", b"x=1&API_KEY=", b"access%5Ftoken=a", b"token=a;x"])
def test_a_key_in_a_query_is_refused_however_it_is_written(query):
    with pytest.raises(HttpError):
        paths.check_query(query)


def test_only_forms_with_files_are_not_bounded_here():
    for kind in ("multipart/form-data; boundary=x", " Multipart/Form-Data", "audio/wav", "application/octet-stream"):
        assert paths.body_limit("/v1/jobs", kind) is None
    for path, kind in (("/v1/jobs", "application/json"), ("/v1/labels/check", "multipart/form-data"), ("/v1/jobs", "")):
        assert paths.body_limit(path, kind) == limits.BODY_BYTES
