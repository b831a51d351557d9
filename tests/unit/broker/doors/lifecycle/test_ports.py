"""What is wrong with an address, a port or the keys is one sentence before anything is started."""

import socket

import pytest

from golem_chain.broker.doors.lifecycle import ports
from golem_chain.broker.doors.lifecycle.greeting import greeting
from golem_chain.shared.errors import BadSetting
from golem_chain.shared.settings import Settings


def settings(**given):
    return Settings.read(_env_file=None, **given)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "LocalHost"])
def test_loopback_needs_no_keys(address):
    ports.check_keys(settings(serve_address=address), no_auth=False)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "::ffff:10.0.0.1", "box.example.org", ""]
)
def test_any_other_address_needs_keys_or_a_word(address):
    with pytest.raises(BadSetting, match="set GOLEM_API_KEYS"):
        ports.check_keys(settings(serve_address=address), no_auth=False)
    ports.check_keys(settings(serve_address=address), no_auth=True)
    ports.check_keys(settings(serve_address=address, api_keys=f"me={'0' * 64}"), no_auth=False)


def test_keys_and_the_word_for_none_contradict_each_other():
    with pytest.raises(BadSetting, match="choose one"):
        ports.check_keys(settings(api_keys=f"me={'0' * 64}"), no_auth=True)


def test_localhost_is_opened_for_both_versions_of_ip_that_the_machine_has():
    opened = ports.open_port("localhost", 0, 1, "GOLEM_SERVE")
    families = {one.family for one in opened}
    for one in opened:
        one.close()
    assert socket.AF_INET in families


def test_no_socket_is_left_when_a_port_is_in_use():
    [first] = ports.open_port("127.0.0.1", 0, 1, "GOLEM_SERVE")
    port = first.getsockname()[1]
    with pytest.raises(BadSetting, match=f"Port {port} of 127.0.0.1 is in use"):
        ports.open_port("127.0.0.1", port, 1, "GOLEM_SERVE")
    first.close()
    for one in ports.open_port("127.0.0.1", port, 1, "GOLEM_SERVE"):
        one.close()


@pytest.mark.parametrize("address", ["no.such.host.invalid", "192.0.2.1", "x" * 300, "-"])
def test_an_address_that_is_not_ours_is_named(address):
    with pytest.raises(BadSetting, match="GOLEM_SERVE_ADDRESS="):
        ports.open_port(address, 0, 1, "GOLEM_SERVE")


def test_no_files_are_no_tls():
    assert ports.certificate(settings()) is None


# -- the greeting


def test_the_greeting_names_every_door_and_who_may_use_it():
    told = "\n".join(greeting(settings(), own_system=True))
    assert "http://127.0.0.1:8000/" in told
    assert "tcp://127.0.0.1:10300" in told
    assert "No key is needed, and only this machine can connect." in told


def test_the_greeting_never_shows_a_key_or_a_password():
    secret = "f" * 64
    given = settings(
        api_keys=f"me={secret}", redis_url="redis://:hidden@127.0.0.1/0", serve_address="::", wyoming_address="0.0.0.0"
    )
    told = "\n".join(greeting(given, own_system=False))
    assert secret not in told
    assert "hidden" not in told
    assert "http://[::]:8000/" in told
    assert "Wyoming knows no keys: everybody who can reach 0.0.0.0 can use it." in told


def test_without_a_port_wyoming_is_not_mentioned():
    assert not [line for line in greeting(settings(wyoming_port=0), own_system=True) if "Wyoming" in line]
