"""Which Host and Origin pass: pages of other sites do not, programs do."""

import pytest

from golem_chain.broker.doors.access import browsers
from golem_chain.broker.doors.access.browsers import Rules
from golem_chain.broker.doors.errors import HttpError
from golem_chain.shared.settings import Settings

HERE = {"host": "localhost:8000"}
LOCAL = Rules(any_host=False)


def rules(**given):
    return Rules.of(Settings.read(_env_file=None, **given))


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]", "golem.localhost:9",
     "192.168.1.5:8000", "127.0.0.1:40000"],
)  # fmt: skip
def test_addresses_and_localhost_are_names_of_every_door(host):
    browsers.check_host(LOCAL, host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost",
     "0.0.0.0:8000", "[::]:8000", "2130706433", "0x7f.1"],
)  # fmt: skip
def test_a_name_that_somebody_made_lead_here_is_misdirected(host):
    with pytest.raises(HttpError) as refused:
        browsers.check_host(LOCAL, host)
    assert refused.value.status == 421
    assert "GOLEM_SERVE_HOSTS" in refused.value.message


@pytest.mark.parametrize(
    "host", [None, "", "a b", "localhost:", "[::1", "user@localhost", "localhost/..", "localhost:8000:1"]
)
def test_what_is_no_host_is_refused(host):
    with pytest.raises(HttpError) as refused:
        browsers.check_host(LOCAL, host)
    assert refused.value.status == 400


def test_names_in_the_settings_pass_and_their_subdomains_if_starred():
    known = rules(serve_hosts="golem.example,*.lan.example")
    for host in ("golem.example", "golem.example:443", "GOLEM.example.", "a.lan.example", "a.b.lan.example"):
        browsers.check_host(known, host)
    for host in ("lan.example", "a.golem.example", "evillan.example"):
        with pytest.raises(HttpError):
            browsers.check_host(known, host)


@pytest.mark.parametrize(
    ("given", "any_name"),
    [
        ({}, False),
        ({"api_keys": "a=b"}, False),  # loopback: a page could be shown to whoever sits here
        ({"serve_address": "0.0.0.0"}, False),  # without keys, every page could use it
        ({"serve_address": "0.0.0.0", "api_keys": "a=b"}, True),
        ({"serve_address": "0.0.0.0", "api_keys": "a=b", "serve_hosts": "golem.example"}, False),
    ],
)
def test_any_name_passes_only_where_others_reach_the_door_and_need_a_key(given, any_name):
    assert rules(**given).any_host is any_name


def origin(value, *, host="localhost:8000", scheme="http", method="POST", path="/v1/jobs", known=LOCAL, **more):
    headers = {"host": host, **{name.replace("_", "-"): text for name, text in more.items()}}
    if value is not None:
        headers["origin"] = value
    return browsers.check_origin(known, method, path, scheme, headers)


def test_programs_send_no_origin_and_pass():
    assert origin(None) is None


@pytest.mark.parametrize(
    ("page", "host", "scheme"),
    [
        ("http://localhost:8000", "localhost:8000", "http"),
        ("HTTP://LocalHost:8000", "localhost:8000", "http"),
        ("http://localhost", "localhost:80", "http"),
        ("https://golem.example", "golem.example", "https"),
        ("https://golem.example", "golem.example", "http"),  # TLS ends at a proxy
        ("http://[::1]:8000", "[::1]:8000", "http"),
    ],
)
def test_our_own_page_passes(page, host, scheme):
    assert origin(page, host=host, scheme=scheme) is None


@pytest.mark.parametrize(
    ("page", "host", "scheme"),
    [
        ("http://evil.example", "localhost:8000", "http"),
        ("http://localhost:3000", "localhost:8000", "http"),
        ("http://localhost", "localhost:8000", "http"),
        ("http://127.0.0.1:8000", "localhost:8000", "http"),
        ("http://golem.example", "golem.example", "https"),  # without TLS, that page could be anybody's
        ("null", "localhost:8000", "http"),
        ("", "localhost:8000", "http"),
        ("file://", "localhost:8000", "http"),
        ("http://localhost:8000@evil.example", "localhost:8000", "http"),
        ("http://localhost:99999999", "localhost:8000", "http"),
        ("chrome-extension://abcdef", "localhost:8000", "http"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_other_origins_are_refused_to_write_and_to_read(page, host, scheme, method):
    with pytest.raises(HttpError) as refused:
        origin(page, host=host, scheme=scheme, method=method)
    assert (refused.value.status, refused.value.code) == (403, "foreign_origin")


def test_an_origin_in_the_settings_passes_whatever_site_it_is():
    known = rules(serve_origins="https://app.example,http://localhost:3000")
    assert origin("https://app.example", known=known, sec_fetch_site="cross-site") == "https://app.example"
    assert origin("http://localhost:3000", known=known, sec_fetch_site="same-site") == "http://localhost:3000"
    for other in ("https://app.example:444", "https://a.app.example", "null", "http://app.example"):
        with pytest.raises(HttpError):
            origin(other, known=known)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_other_sites_embed_is_refused_without_an_origin_too(site):
    for dest in ("image", "script", "iframe", "empty"):
        with pytest.raises(HttpError):
            origin(None, method="GET", sec_fetch_site=site, sec_fetch_mode="no-cors", sec_fetch_dest=dest)


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_what_our_page_or_the_user_asks_passes(site):
    assert origin(None, method="GET", sec_fetch_site=site) is None


def test_a_link_may_lead_to_the_page_but_not_to_the_api_and_no_frame_may_hold_it():
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert origin(None, method="GET", path="/", sec_fetch_dest="document", **link) is None
    for path, dest, method in (("/v1/jobs", "document", "GET"), ("/", "iframe", "GET"), ("/", "document", "POST")):
        with pytest.raises(HttpError):
            origin(None, method=method, path=path, sec_fetch_dest=dest, **link)


def test_answers_name_one_origin_and_never_credentials_or_everybody():
    known = rules(serve_origins="https://app.example")
    told = browsers.cors_headers(known, "https://app.example") | browsers.preflight_headers()
    assert told["access-control-allow-origin"] == "https://app.example"
    assert told["vary"] == "origin"
    assert "access-control-allow-credentials" not in told
    assert "*" not in "".join(told.values())
    assert browsers.cors_headers(known, None) == {"vary": "origin"}
    assert browsers.cors_headers(LOCAL, None) == {}
