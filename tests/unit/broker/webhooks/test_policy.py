"""A webhook leads to no address or host that the operator did not allow, in whatever form it is written."""

import pytest

from golem_chain.broker.webhooks.policy import Policy, refusal, target
from golem_chain.shared.errors import BadSetting, BadWebhook
from golem_chain.shared.settings import Settings

#: (address, the word that says why). Also RFC 6890's list of special addresses.
REFUSED = [
    ("127.0.0.1", "loopback"),
    ("127.255.0.9", "loopback"),
    ("::1", "loopback"),
    ("::ffff:127.0.0.1", "loopback"),
    ("10.1.2.3", "private"),
    ("172.31.0.1", "private"),
    ("192.168.0.1", "private"),
    ("::ffff:10.0.0.1", "private"),
    ("fd00:ec2::254", "private"),
    ("0.0.0.0", "public"),
    ("::", "public"),
    ("169.254.169.254", "public"),
    ("::ffff:169.254.169.254", "public"),
    ("100.64.0.1", "public"),
    ("192.0.0.1", "public"),
    ("192.0.2.1", "public"),
    ("192.88.99.1", "public"),
    ("198.18.0.1", "public"),
    ("198.51.100.1", "public"),
    ("203.0.113.1", "public"),
    ("224.0.0.1", "public"),
    ("239.1.1.1", "public"),
    ("240.0.0.1", "public"),
    ("255.255.255.255", "public"),
    ("fe80::1", "public"),
    ("fe80::1%eth0", "interface"),
    ("fec0::1", "public"),
    ("ff02::1", "public"),
    ("ff0e::1", "public"),
    ("2001:db8::1", "public"),
    ("3fff::1", "public"),
    ("100::1", "public"),
    ("2001::1", "public"),  # Teredo
    ("::7f00:1", "public"),  # IPv4-compatible
    ("::ffff:0:7f00:1", "public"),  # IPv4-translated
    ("64:ff9b::7f00:1", "public"),
    ("64:ff9b::a9fe:a9fe", "public"),
    ("64:ff9b:1::808:808", "public"),
    ("2002:7f00:1::", "public"),
    ("2002:c0a8:1::1", "public"),
]
PUBLIC = ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"]


@pytest.mark.parametrize(("address", "why"), REFUSED)
def test_no_special_address_is_connected_to(address, why):
    assert why in (refusal(address, private=False) or "it is allowed")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_connected_to(address):
    assert refusal(address, private=False) is None


@pytest.mark.parametrize(("address", "why"), REFUSED)
def test_the_private_setting_allows_private_and_loopback_and_nothing_else(address, why):
    assert (refusal(address, private=True) is None) == (why in ("loopback", "private"))


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "origin"),
    [
        ("https://hooks.example.org", "hooks.example.org", 443, "/", "https://hooks.example.org"),
        ("HTTPS://Hooks.Example.ORG./a?b=c", "hooks.example.org", 443, "/a?b=c", "https://hooks.example.org"),
        ("https://example.org:8443/%20", "example.org", 8443, "/%20", "https://example.org:8443"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/", "https://xn--bcher-kva.example"),
        ("https://[2606:4700::1]:8443/x", "2606:4700::1", 8443, "/x", "https://[2606:4700::1]:8443"),
        ("https://8.8.8.8/x", "8.8.8.8", 443, "/x", "https://8.8.8.8"),
    ],
)
def test_a_url_is_taken_apart(url, host, port, path, origin):
    found = target(url, Policy())
    assert (found.host, found.port, found.path, found.origin) == (host, port, path, origin)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is empty"),
        ("example.org/x", "https://host/path"),
        ("/x", "https://host/path"),
        ("https:example.org", "https://host/path"),
        ("https:///x", "https://host/path"),
        ("ftp://example.org", "https://host/path"),
        ("file:///etc/passwd", "https://host/path"),
        ("gopher://example.org:6379/_FLUSHALL", "https://host/path"),
        ("http://example.org", "GOLEM_WEBHOOK_HTTP=1"),
        ("https://user:secret@example.org", "a user or a password"),
        ("https://example.org@127.0.0.1/", "a user or a password"),
        ("https://example.org#@evil.example", "fragment"),
        ("https://example.org\\@evil.example", "plain ASCII"),
        ("https://example.org/\r\nHost: evil", "plain ASCII"),
        ("https://example.org/ä", "plain ASCII"),
        ("https://bücher.example", "plain ASCII"),
        ("https://example.org/ x", "plain ASCII"),
        ("https://example.org:99999/", "cannot be parsed"),
        ("https://example.org:0/", "has port 0"),
        ("https://example.org:22/", "has port 22"),
        ("https://[::1/", "cannot be parsed"),
        ("https://[fe80::1%25eth0]/", "bound to a network interface"),
        ("https://-a.example/", "is not a host name"),
        ("https://a..example/", "is not a host name"),
        ("https://2130706433/", "unusual form"),
        ("https://127.1/", "unusual form"),
        ("https://0x7f.0.0.1/", "unusual form"),
        ("https://0x7f000001/", "unusual form"),
        ("https://0177.0.0.1/", "unusual form"),
        ("https://127.0.0.1/", "GOLEM_WEBHOOK_PRIVATE=1"),
        ("https://[::1]/", "GOLEM_WEBHOOK_PRIVATE=1"),
        ("https://[::ffff:7f00:1]/", "GOLEM_WEBHOOK_PRIVATE=1"),
        ("https://169.254.169.254/latest", "not a public one"),
        ("https://example.org/" + "x" * 2000, "the limit is 2,000"),
    ],
)
def test_a_bad_url_is_refused_in_one_sentence_without_its_secrets(url, says):
    with pytest.raises(BadWebhook, match=says.replace("(", r"\(")) as refused:
        target(url, Policy())
    assert "secret" not in refused.value.message
    assert "latest" not in refused.value.message
    assert len(refused.value.message.splitlines()) == 1


@pytest.mark.parametrize(
    ("hosts", "host", "allowed"),
    [
        ((), "anything.example", True),
        (("example.org",), "example.org", True),
        (("example.org",), "a.example.org", False),
        (("*.example.org",), "a.example.org", True),
        (("*.example.org",), "a.b.example.org", True),
        (("*.example.org",), "example.org", False),
        (("*.example.org",), "evilexample.org", False),
        (("example.org", "b.example"), "b.example", True),
        (("example.org",), "example.org.evil.example", False),
    ],
)
def test_only_the_hosts_that_are_named_are_told(hosts, host, allowed):
    policy = Policy(hosts)
    if allowed:
        assert target(f"https://{host}/", policy).host == host
    else:
        with pytest.raises(BadWebhook, match="GOLEM_WEBHOOK_HOSTS"):
            target(f"https://{host}/", policy)


def test_the_policy_is_that_of_the_settings_and_survives_its_way_through_redis():
    made = Settings.read(
        _env_file=None, webhook_hosts=" Example.org, *.b.example,", webhook_http="1", webhook_private="1"
    )
    policy = Policy.of(made)
    assert policy == Policy(("example.org", "*.b.example"), http=True, private=True)
    assert Policy.parse(policy.wire()) == policy
    assert Policy.of(Settings.read(_env_file=None)) == Policy()


def test_a_host_setting_that_is_a_url_is_named():
    with pytest.raises(BadSetting, match=r"GOLEM_WEBHOOK_HOSTS='https://a/': use host names"):
        Settings.read(_env_file=None, webhook_hosts="https://a/")
