"""The OpenAPI schema, and the server that it describes: requests made from the schema, valid and invalid ones, get
answers that the schema allows."""

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error, positive_data_acceptance
from schemathesis.config import SchemathesisConfig
from schemathesis.core.control import SkipTest
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok

from golem_chain.broker.doors.access import keys, limits
from golem_chain.broker.doors.access.keys import Key
from tests.support.door import serving

EXAMPLES = 12  # of each operation and mode; with 200 of them, by hand, a run takes about ten minutes
#: Streams of events have no end.
STREAMS = ("/events",)
#: A schema cannot say what is audio, which job exists, or which labels go together; a worker may be away.
NOT_OURS = [positive_data_acceptance, not_a_server_error]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of schemathesis and its libraries


@pytest.fixture(scope="module")
def key():
    return keys.make()


@pytest.fixture(scope="module")
def locked(chain, key):
    """The URL of a door with an operator's key, and patience with wrong ones."""
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(chain.settings.model_copy(update={"api_keys": f"@{_file(chain.folder, key)}"})) as url,
    ):
        patch.setattr(limits, "WRONG_KEYS", 10_000)
        yield url


def _file(folder, key):
    keys.add(folder / "keys.toml", Key(name="root", sha256=keys.hash_of(key), operator=True))
    return folder / "keys.toml"


def no_internal_error(ctx, response, case):
    """Nothing that a client sends is an error of ours."""
    assert response.status_code < 500 or response.status_code == 503, response.text


def operations(url, mode):
    """The operations of the schema, whose requests are valid or not."""
    config = SchemathesisConfig()
    config.projects.default.generation.modes = [mode]
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)
    return [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]


def failures_of(operation, key, mode, examples):
    """Try one operation, and return what was wrong, if anything."""
    with requests.Session() as session:

        @hypothesis.settings(
            max_examples=examples, derandomize=True, database=None, deadline=None,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def run(case):
            headers = {"Authorization": f"Bearer {key}"}
            case.call_and_validate(
                session=session,
                headers=headers,
                timeout=30,
                additional_checks=[no_internal_error],
                excluded_checks=NOT_OURS,
            )

        try:
            run()
        except SkipTest:  # nothing about it can be invalid
            return None
        except ValueError as exc:
            if "Unsupported type: 'Binary'" not in str(exc):  # schemathesis fails to check a body that it made
                raise
        except (Failure, FailureGroup) as exc:
            return f"{operation.label}, {mode.value}:\n{exc}"
    return None


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_answer_is_one_that_the_schema_describes(locked, key, mode):
    found = [one for one in operations(locked, mode) if not one.path.endswith(STREAMS)]
    assert found
    wrong = [told for one in found if (told := failures_of(one, key, mode, EXAMPLES))]
    assert not wrong, "\n\n".join(wrong)
