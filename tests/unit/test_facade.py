"""The public API: `golem_chain` and the names that it exports."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import golem_chain


def test_the_public_names_are_those_of_their_modules():
    from golem_chain.broker.asynchronous.pipeline import AsyncPipeline
    from golem_chain.broker.jobs.groups import End, GroupStatus
    from golem_chain.broker.pipeline import Group, Pipeline
    from golem_chain.broker.submission import Submitted
    from golem_chain.shared.errors import GolemError
    from golem_chain.shared.records import JobOptions, LabelSet, Outcome, Reply, Segment, Transcript, Vocabulary
    from golem_chain.shared.settings import Settings

    producers = (AsyncPipeline, End, Group, GroupStatus, Pipeline, Settings, Submitted, GolemError)
    for public in (*producers, JobOptions, LabelSet, Outcome, Reply, Segment, Transcript, Vocabulary):
        assert getattr(golem_chain, public.__name__) is public
    assert golem_chain.__version__.count(".") == 2


def test_each_public_name_is_there_for_type_checkers_for_dir_and_at_runtime():
    source = Path(golem_chain.__file__).read_text()
    typed = set(re.findall(r"^    from \S+ import \w+ as (\w+)$", source, re.M))
    assert typed == set(golem_chain.__all__) == set(golem_chain._PUBLIC)
    for name in golem_chain.__all__:
        assert getattr(golem_chain, name) is not None
        assert name in dir(golem_chain)


def test_options_are_made_from_texts_and_bad_ones_refused():
    made = golem_chain.make_options(labels='lights="turning on the lights",music', lane="interactive")
    assert made.labels
    assert [label.name for label in made.labels.labels] == ["lights", "music"]
    assert made.lane == "interactive"
    with pytest.raises(golem_chain.errors.BadRequest, match="lane"):
        golem_chain.make_options(lane="fast")  # type: ignore[arg-type]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Pipelin'"):
        golem_chain.Pipelin  # noqa: B018


def test_importing_the_namespace_loads_nothing_heavy():
    heavy = "{'celery', 'redis', 'pydantic', 'torch', 'rich'}"
    code = f"import sys, golem_chain; print(*({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize(("one", "other"), [("Pipeline", "AsyncPipeline"), ("Group", "AsyncGroup")])
def test_the_api_for_asyncio_has_the_same_methods_with_the_same_parameters(one, other):
    sync, asynchronous = getattr(golem_chain, one), getattr(golem_chain, other)
    for_commands = {"watch", "status", "heard", "stream_many"} if one == "Pipeline" else {"watch"}
    methods = {name for name, found in vars(sync).items() if not name.startswith("_") and callable(found)}
    assert {name for name in vars(asynchronous) if not name.startswith("_")} == methods - for_commands
    for name in methods - for_commands:
        expected, found = (inspect.signature(getattr(kind, name)).parameters for kind in (sync, asynchronous))
        assert found == expected, name
