"""Who asks at a port that knows no keys."""

from golem_chain.broker.doors.door import local_caller
from golem_chain.broker.doors.wyoming.server import wyoming_caller
from golem_chain.broker.owner import owner_of
from golem_chain.shared.settings import Settings


def test_without_keys_the_jobs_are_those_of_the_user_who_started_the_server():
    settings = Settings.read(_env_file=None, owner="me")
    assert wyoming_caller(settings) == local_caller(settings)


def test_with_keys_they_have_an_owner_of_their_own_who_is_no_operator():
    settings = Settings.read(_env_file=None, owner="me", api_keys=f"phone={'0' * 64}")
    caller = wyoming_caller(settings)
    assert caller.owner not in ("me", owner_of(settings))
    assert not caller.operator
    assert caller == wyoming_caller(settings), "a restart must find the same jobs"
