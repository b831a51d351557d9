"""`golem bench` and the other commands that the broker only forwards."""

import pytest
from typer.testing import CliRunner

from golem_chain.benchmarks.__main__ import app as benchmarks
from golem_chain.broker.cli.main import SUBCOMMANDS
from golem_chain.workers.__main__ import app as workers

FORWARDED = [
    (benchmarks, []),
    (benchmarks, ["chain"]),
    (workers, ["worker"]),
    (workers, ["models"]),
    (workers, ["models", "pull"]),
    (workers, ["eval"]),
    (workers, ["eval", "ks"]),
]


@pytest.mark.parametrize(("app", "command"), FORWARDED)
def test_h_is_short_for_help(app, command):
    short, long = (CliRunner().invoke(app, [*command, flag]) for flag in ("-h", "--help"))
    assert short.exit_code == 0
    assert "-h, --help" in short.stdout
    assert short.stdout == long.stdout


@pytest.mark.parametrize(("app", "group"), [(benchmarks, []), (workers, ["models"]), (workers, ["eval"])])
def test_each_explanation_fits_its_line(app, group):
    shown = CliRunner().invoke(app, [*group, "--help"], terminal_width=80).stdout
    assert "..." not in shown.partition("Commands:")[2]


def commands(help_text):
    return tuple(line.split()[0] for line in help_text.partition("Commands:\n")[2].splitlines() if line[2:3].strip())


def test_a_shell_is_offered_the_subcommands_that_exist():
    shown = {"bench": CliRunner().invoke(benchmarks, ["--help"])}
    shown |= {name: CliRunner().invoke(workers, [name, "--help"]) for name in ("models", "eval")}
    assert {name: commands(result.stdout) for name, result in shown.items()} == SUBCOMMANDS
