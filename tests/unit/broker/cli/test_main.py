"""The command line: help, exit codes, and one-sentence errors."""

import os
import re
import subprocess
import sys
from importlib import metadata

import pytest

from golem_chain.broker.cli import main
from golem_chain.broker.local import system

pytestmark = pytest.mark.usefixtures("surroundings")


def test_help_answers_in_under_0_3_seconds():
    def once():
        process = subprocess.Popen(
            [sys.executable, "-m", "golem_chain.broker.cli", "--help"], stdout=subprocess.DEVNULL
        )
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = code
        assert code == 0
        return used.ru_utime + used.ru_stime  # CPU time, so that other programs do not count

    assert min(once() for _ in range(5)) < 0.3


def test_help_loads_no_broker_and_no_model_library():
    heavy = {"celery", "redis", "pydantic", "rich", "torch"}
    code = f"import sys, golem_chain.broker.cli.main; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_command_is_listed_and_explained(golem):
    code, out, _ = golem("--help")
    assert code == 0
    for command in ("run", "submit", "results", "status", "flower", "worker", "models"):
        assert f"\n  {command} " in out
    assert "..." not in out.partition("\n")[2], "each explanation fits its line"


@pytest.mark.parametrize("command", [[], ["run"], ["results"], ["flower"], ["dead"], ["dead", "retry"]])
def test_h_is_short_for_help(golem, command):
    code, out, _ = golem(*command, "-h")
    assert code == 0
    assert "-h, --help" in out
    assert golem(*command, "--help") == (0, out, "")


def test_the_version_is_that_of_the_installed_package(golem):
    assert golem("--version") == (0, f"golem {metadata.version('golem-chain')}\n", "")


def completed(golem, monkeypatch, line):
    """What a shell offers for the last word of a line."""
    monkeypatch.setenv("_GOLEM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    return golem()[1].split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("golem res", ["results"]),
        ("golem dead ", ["list", "show", "retry", "drop"]),
        ("golem run --vo", ["--vocabulary"]),
        ("golem run --format s", ["srt"]),
        ("golem models ", ["pull", "list", "verify", "prove"]),
        ("golem bench f", ["fleet"]),
        ("golem models pull ", []),
        ("golem worker ", []),
        ("golem run ", []),  # nothing: the shell completes file names itself
    ],
)
def test_a_shell_completes_commands_options_and_choices(golem, monkeypatch, line, offered):
    assert completed(golem, monkeypatch, line) == offered


def test_a_shell_completes_every_command(golem, monkeypatch):
    _, out, _ = golem("--help")
    listed = re.findall(r"^  ([a-z]+) ", out.partition("Commands:")[2], re.M)
    assert {"run", "dead"} <= set(listed)
    assert completed(golem, monkeypatch, "golem ") == listed


def test_a_file_that_is_not_there_is_wrong_usage_and_nothing_starts(golem, monkeypatch):
    monkeypatch.setattr(system, "private_system", lambda *_: pytest.fail("a system was started"))
    code, out, err = golem("run", "a.wav", "gone.wav")
    assert (code, out) == (2, "")
    assert err == "golem: No such file: gone.wav.\n"


@pytest.mark.parametrize(
    "typed",
    [
        ["run"],
        ["run", "a.wav", "--nonsense"],
        ["run", "a.wav", "--temperature", "-1"],
        ["run", "a.wav", "--seed", "x"],
        ["run", "a.wav", "--max-new-tokens", "0"],
        ["run", "a.wav", "--labels", ""],
        ["run", "a.wav", "--task", "sing"],
        ["run", "a.wav", "--labels", "@nowhere"],
        ["submit", "a.wav", "--labels", "x,x"],
        ["results", "-"],
        ["results"],
        ["results", "x", "--group", "night"],
        ["results", "x", "--since", "1-1"],
        ["results", "--group", "a b"],
        ["cancel"],
        ["next"],
        ["jobs", "--page", "0"],
        ["status", "--group", ""],
        ["submit", "a.wav", "--group", "a/b"],
        ["submit", "a.wav", "--expires", "soon"],
        ["submit", "a.wav", "--expires", "0s"],
        ["submit", "a.wav", "--expires", "9" * 400],
        ["ask", "hello", "--lane", "fast"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_exit_2_and_no_traceback(golem, typed):
    code, out, err = golem(*typed)
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


def test_a_setting_that_cannot_be_used_is_named(golem, monkeypatch):
    monkeypatch.setenv("GOLEM_VAULT_LIMIT", "plenty")
    code, _, err = golem("submit", "a.wav")
    assert code == 2
    assert "GOLEM_VAULT_LIMIT" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", [["submit", "a.wav"], ["results", "x"], ["status"]])
def test_redis_away_is_one_sentence_without_the_password(golem, monkeypatch, command):
    monkeypatch.setenv("GOLEM_REDIS_URL", "redis://:s3cret@127.0.0.1:1/0")
    code, out, err = golem(*command)
    assert (code, out) == (1, "")
    assert "GOLEM_REDIS_URL" in err
    assert "s3cret" not in err
    assert len(err.splitlines()) == 1


def test_a_traceback_is_shown_only_on_request(golem, monkeypatch):
    def broken(*args):
        raise RuntimeError("oh\nno")

    monkeypatch.setattr("golem_chain.broker.cli.arguments.audio_paths.expand", broken)
    code, _, err = golem("submit", "a.wav")
    assert code == 1
    assert err == "golem: Internal error: RuntimeError: oh\\nno. Set GOLEM_DEBUG=1 to see the traceback.\n"
    monkeypatch.setenv("GOLEM_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["golem", "submit", "a.wav"])
    with pytest.raises(RuntimeError):
        main.main()


@pytest.fixture
def became(monkeypatch):
    """The programs that took our place."""
    found = []

    def become(program, args):
        found.append((program, args))
        sys.exit(0)

    monkeypatch.setattr(os, "execv", become)
    return found


@pytest.mark.parametrize(
    "typed",
    [
        ["worker"],
        ["worker", "--queues", "scribe", "--help"],
        ["worker", "-h"],
        ["models", "list", "--json"],
        ["eval", "ks", "words/", "-o", "out", "-h"],
    ],
)
def test_worker_models_and_eval_become_the_other_program(golem, became, typed):
    assert golem(*typed)[0] == 0
    assert became == [(sys.executable, [sys.executable, "-P", "-m", "golem_chain.workers", *typed])]


@pytest.mark.parametrize("typed", [["-h"], ["chain", "--jobs", "20", "--json"]])
def test_bench_becomes_the_benchmarks(golem, became, typed):
    assert golem("bench", *typed)[0] == 0
    assert became == [(sys.executable, [sys.executable, "-P", "-m", "golem_chain.benchmarks", *typed])]


@pytest.mark.parametrize("typed", [["worker"], ["models", "list"], ["run", "a.wav"]])
def test_a_producer_without_torch_is_told_what_to_install(golem, monkeypatch, typed):
    monkeypatch.setattr(system, "find_spec", lambda name: None)
    code, _, err = golem(*typed)
    assert code == 1
    assert "golem-chain[worker]" in err
    assert len(err.splitlines()) == 1
