"""`golem serve` before it serves: what is missing or typed wrongly is one sentence."""

import pytest

from golem_chain.broker.cli.commands import serve


def test_without_its_extra_it_says_how_to_install_it(golem, monkeypatch, surroundings):
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "uvicorn" else object())
    code, out, err = golem("serve")
    assert (code, out) == (1, "")
    assert err == "golem: The server is not installed: pip install 'golem-chain[serve]'.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "70000"], "GOLEM_SERVE_PORT"),
        (["--wyoming-port", "-1"], "GOLEM_WYOMING_PORT"),
        (["--address", "10.0.0.1"], "GOLEM_API_KEYS"),
    ],
)
def test_an_option_that_cannot_be_is_named_by_its_setting(golem, surroundings, words, said):
    code, _, err = golem("serve", *words)
    assert code == 2
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_bad_url_of_redis_is_one_sentence(golem, surroundings, monkeypatch):
    monkeypatch.setenv("GOLEM_REDIS_URL", "http://127.0.0.1")
    code, _, err = golem("serve", "--port", "1")
    assert code == 2
    assert "GOLEM_REDIS_URL" in err
