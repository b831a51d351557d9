"""How a service of docker-compose.yml becomes a command of an engine."""

from itertools import pairwise

import pytest

from tests.containers.compose import Unset, extras, filled, run_options, services

VARIABLES = {"REDIS_PASSWORD": "s3cret", "GOLEM_API_KEYS": "me=0", "GOLEM_FLOWER_AUTH": "a:b", "SERVE_BIND": "10.0.0.1"}


def test_variables_are_filled_in_as_compose_does():
    given = {"a": ["${X}", "${Y:-else}", "$$HOME"], "b": 1}
    assert filled(given, {"X": "1"}) == {"a": ["1", "else", "$HOME"], "b": 1}
    assert filled("${Y:-else}", {"Y": ""}) == "else"
    with pytest.raises(Unset, match="Z: set it"):
        filled("${Z:?set it}", {})


def test_no_service_can_be_run_without_its_secrets():
    for name in services():
        if name in ("models", "worker", "second-worker", "redis", "serve", "wyoming", "flower", "deliverer"):
            with pytest.raises(Unset):
                run_options(services()[name], {})


def test_a_service_keeps_its_ports_volumes_and_restrictions():
    options, image, command = run_options(services()["serve"], VARIABLES)
    assert image == "golem-serve"
    assert command == ["serve"]
    pairs = list(pairwise(options))
    assert ("--publish", "10.0.0.1:8000:8000") in pairs
    assert ("--env", "GOLEM_REDIS_URL=redis://:s3cret@redis:6379/0") in pairs
    assert ("--security-opt", "no-new-privileges=true") in pairs
    assert ("--stop-timeout", "45") in pairs
    options, _, command = run_options(services()["redis"], VARIABLES)
    assert ("--volume", "queue:/data") in pairwise(options)
    assert 'echo "requirepass $REDIS_PASSWORD"' in command[-1]


def test_each_image_is_built_with_its_own_extras():
    assert extras(services()) == {"golem-worker": "worker", "golem-serve": "serve", "golem-monitor": "monitor"}
