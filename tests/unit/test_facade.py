"""The public API: `golem_chain` and the names that it exports."""

import subprocess
import sys

import pytest

import golem_chain


def test_the_public_names_are_those_of_their_modules():
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.errors import GolemError
    from golem_chain.shared.records import JobOptions, LabelSet, Outcome, Vocabulary
    from golem_chain.shared.settings import Settings

    for public in (Pipeline, GolemError, JobOptions, LabelSet, Outcome, Vocabulary, Settings):
        assert getattr(golem_chain, public.__name__) is public
        assert public.__name__ in dir(golem_chain)
    assert golem_chain.__version__.count(".") == 2


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Pipelin'"):
        golem_chain.Pipelin  # noqa: B018


def test_importing_the_namespace_loads_nothing_heavy():
    heavy = "{'celery', 'redis', 'pydantic', 'torch', 'rich'}"
    code = f"import sys, golem_chain; print(*({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
