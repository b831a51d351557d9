"""`golem models prove` from the command line: its table, its JSON and its exit codes."""

import json

import pytest
from typer.testing import CliRunner

from golem_chain.shared.errors import BadRequest, ModelMissing
from golem_chain.shared.settings import Settings
from golem_chain.workers.proof import prove, session
from golem_chain.workers.proof.commands import after_pull
from golem_chain.workers.proof.own import shipped, with_folder
from golem_chain.workers.store import verdicts
from golem_chain.workers.store.commands import app
from golem_chain.workers.store.manifest import Checkpoint
from golem_chain.workers.store.verdicts import Tried, Verdict, binding_of


@pytest.fixture
def proved(monkeypatch, tmp_path):
    """Runs `golem models prove` where only the oracle is in the store, and its proof finds `tried`."""
    folder = tmp_path / "oracle" / "smol"
    folder.mkdir(parents=True)
    checkpoint = Checkpoint("oracle", "smol", folder, "1", "folder", "CC0", "float32", 1, "abc")
    tried: list[Tried] = []

    def find(settings: Settings, stage: str) -> Checkpoint:
        del settings
        if stage != "oracle":
            raise ModelMissing(f"The {stage}'s model is not in the store.")
        return checkpoint

    class Known:
        def __init__(self, *given: object) -> None:
            del given

        def run(self) -> Verdict:
            if not tried:
                raise IndexError("index 50256 is out of bounds")
            return Verdict(binding_of(checkpoint, None), 96, 0, tuple(tried), "a processor", 1.0, "2026-01-02")

    monkeypatch.setattr(session, "find", find)
    monkeypatch.setattr(session, "Proof", Known)
    monkeypatch.setenv("GOLEM_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)

    def run(*words: str, found: tuple[Tried, ...] = (), **environment: str):
        tried[:] = found
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, ["prove", *words])

    return run


PASSED = Tried("bfloat16", True, 1.9, {"tokens": 2000, "mean KL": 0.001, "top-1 agreement": 0.99})
FAILED = Tried("bfloat16", False, 1.9, {"mean KL": 0.3}, "the mean KL divergence is 0.3000, more than 0.002")
REFERENCE = Tried("float32", True, 1.0)


@pytest.mark.parametrize(("found", "made"), [((PASSED, REFERENCE), ["bfloat16"]), ((FAILED, REFERENCE), ["float32"])])
def test_only_a_form_that_passed_is_put_beside_the_weights(proved, monkeypatch, found, made) -> None:
    asked: list[str] = []
    monkeypatch.setattr(session, "keep_ready", lambda _, form: asked.append(form.name))
    assert proved("--stage", "oracle", found=found).exit_code == 0
    assert asked == made, "for float32 nothing is made"


def test_a_proof_that_passes_says_what_runs_from_now_on_and_why(proved) -> None:
    done = proved("--stage", "oracle", found=(PASSED, REFERENCE))
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    for told in (
        "bfloat16 (runs)",
        "1.90 ×",
        "passed",
        "2,000 tokens, mean KL 0.001, top-1 agreement 0.99",
        "reference",
    ):
        assert told in text


def test_a_data_type_that_failed_and_is_set_exits_with_1_and_auto_with_0(proved) -> None:
    assert proved("--stage", "oracle", found=(FAILED, REFERENCE)).exit_code == 0, "auto runs float32"
    done = proved("--stage", "oracle", found=(FAILED, REFERENCE), GOLEM_DTYPE="bfloat16")
    assert done.exit_code == 1
    assert "more than 0.002" in " ".join(done.stdout.split())


def test_json_has_a_line_for_each_stage_with_the_error_of_one_that_cannot_be_proved(proved) -> None:
    done = proved("--json", found=(PASSED, REFERENCE))
    assert done.exit_code == 1, "two stages have no model"
    rows = {row["stage"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["scribe"]["error"] == "The scribe's model is not in the store."
    assert rows["oracle"]["sound"]
    assert rows["oracle"]["runs"] == "bfloat16"
    assert rows["oracle"]["tried"][0]["figures"]["mean KL"] == 0.001


def test_a_model_that_cannot_answer_is_told_in_one_sentence(proved) -> None:
    done = proved("--stage", "oracle", "--json")
    assert done.exit_code == 1
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["error"] == (
        "The oracle's model cannot answer (IndexError: index 50256 is out of bounds): choose another one."
    )


def test_wrong_usage_is_told_before_anything_is_loaded(proved, tmp_path) -> None:
    assert proved("--stage", "painter").exit_code == 2
    assert proved("--with", str(tmp_path / "nothing")).exit_code == 2


def test_a_verdict_that_cannot_be_kept_exits_with_1(proved, tmp_path, monkeypatch) -> None:
    (tmp_path / "oracle" / "smol" / verdicts.FOLDER).write_text("a file where the folder should be")
    done = proved("--stage", "oracle", found=(PASSED, REFERENCE))
    assert done.exit_code == 1
    assert "could not be kept" in done.output


def test_a_pull_succeeds_whatever_its_proof_finds(proved, monkeypatch, capsys) -> None:
    proved("--stage", "oracle")  # a model that cannot answer
    after_pull(Settings.read(_env_file=None, device="cpu"), ("oracle",))
    assert "cannot answer" in " ".join(capsys.readouterr().out.split())


def test_the_calibration_set_is_as_large_as_the_documentation_says() -> None:
    material = shipped()
    assert len(material.texts) == 180
    assert len({language for _, language in material.texts}) == 20
    assert len(material.labels) == 10
    assert sum(clip.language == "en" for clip in material.clips) == 68
    assert len(material.clips) == 74
    assert sum(clip.path.stat().st_size for clip in material.clips) < 1_500_000


def test_a_users_own_recordings_and_texts_are_compared_besides_ours(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("Turn it off.\n\nAnd on again.\n", encoding="utf-8")
    (tmp_path / "said.jsonl").write_text('{"text": "Go.", "intent": "x", "language": "en"}\n', encoding="utf-8")
    (tmp_path / "clip.wav").write_bytes(b"RIFF")
    material = with_folder(tmp_path)
    assert [text for text, _ in material.texts[-3:]] == ["Turn it off.", "And on again.", "Go."]
    assert (material.own_texts, material.own_clips) == (3, 1)
    assert material.clips[-1].path == tmp_path / "clip.wav"


@pytest.mark.parametrize("made", [lambda folder: None, lambda folder: (folder / "a.txt").write_bytes(b"\xff\xfe\xff")])
def test_a_folder_without_anything_to_compare_is_refused_in_a_sentence(tmp_path, made) -> None:
    made(tmp_path)
    with pytest.raises(BadRequest) as refused:
        with_folder(tmp_path)
    assert refused.value.message.count(".") >= 1
    assert prove.ROUNDS >= 2
