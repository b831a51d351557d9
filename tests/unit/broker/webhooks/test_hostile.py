"""Whatever a producer or a receiver writes, the readers of webhooks answer or refuse it."""

import ipaddress
import string

from hypothesis import example, given
from hypothesis import strategies as st

from golem_chain.broker.webhooks.policy import Policy, refusal, target
from golem_chain.broker.webhooks.schedule import RETRY_AFTER_MOST_S, Answer, retry_after, verdict
from golem_chain.shared.errors import BadWebhook

PARTS = ["https", "http", ":", "/", "//", "@", "#", "?", "[", "]", "\\", "%", ".", "127.0.0.1", "::1", "example.org",
         "0x7f", ":443", ":0", ":99999", "\t", "\r\n", "\0", "é", "。", "１２７", "localhost"]  # fmt: skip
urls = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
hosts = st.text(string.ascii_letters + string.digits + ".-_:[]@%", min_size=1, max_size=40).map("https://{}/x".format)


@given(st.one_of(urls, hosts))
@example("https://[::ffff:127.0.0.1]:443/")
@example("https://[v1.x]/")
def test_a_url_is_taken_apart_or_refused_and_nothing_else_is_raised(url):
    try:
        found = target(url, Policy(http=True))
    except BadWebhook:
        return
    assert found.scheme in ("http", "https")
    assert f"{found.scheme}://" == url[: len(found.scheme) + 3].lower()
    assert "@" not in found.authority
    assert found.path.startswith("/")
    assert found.path.isprintable()
    again = target(f"{found.origin}{found.path}", Policy(http=True))
    assert again == found, "what is connected to is what was checked"


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str))
def test_what_a_stricter_table_calls_special_is_never_connected_to(address):
    one = ipaddress.ip_address(address)
    if one.is_private or one.is_loopback or one.is_link_local or one.is_multicast or one.is_unspecified:
        assert refusal(address, private=False)


@given(st.text(max_size=60), st.one_of(st.none(), st.text(max_size=60)))
@example("Mon, 01 Jan 0001 00:00:00 +2359", None)
@example("Fri, 31 Dec 9999 23:59:59 -2359", "Fri, 31 Dec 9999 23:59:59 +2359")
def test_any_retry_after_gives_a_delay_within_bounds(header, date):
    asked_s = retry_after(header, date)
    assert 0 < verdict(Answer(503, retry_after_s=asked_s), 0, 1.0).delay_s <= RETRY_AFTER_MOST_S
