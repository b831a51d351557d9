"""Real recordings through the real chain with the bundled models: transcripts, intents, replies."""

import json
import subprocess
import sys

import pytest

from tests.support.recordings import TOOLS, manifest, run_json

pytestmark = [pytest.mark.models, pytest.mark.recordings, pytest.mark.timeout(1200)]


def wer(data, folder, outcomes, tmp_path):
    """Return the word error rate as the project counts it."""
    lines = tmp_path / "outcomes.jsonl"
    lines.write_text("\n".join(json.dumps(o) for name, o in outcomes.items() if f"/{folder}/" in name))
    counted = subprocess.run(
        [sys.executable, TOOLS / "wer", data / folder / "manifest.jsonl", lines], capture_output=True, check=True
    )
    return json.loads(counted.stdout)


def test_every_recording_ends_done_with_words_intent_and_reply(heard):
    outcomes, done = heard
    assert done.returncode == 0, done.stderr[-2000:]
    assert {o["state"] for o in outcomes.values()} == {"done"}
    spoken = [o for name, o in outcomes.items() if "/sentences/" in name or "/commands/" in name]
    assert len(spoken) > 70
    for outcome in spoken:
        assert outcome["intent"]["label"] in outcome["intent"]["scores"] or outcome["intent"]["label"] == "unknown"
        assert outcome["reply"]["text"].strip(), outcome["name"]
        assert list(outcome["stages"]) == ["scribe", "interpreter", "oracle"]


def test_sentences_are_heard_within_the_published_error(data, heard, tmp_path):
    figures = wer(data, "sentences", heard[0], tmp_path)
    print("sentences", figures)
    assert figures["wer"] <= 6.5
    assert figures["silent"] == 0


def test_commands_are_heard_no_worse_than_elsewhere(data, heard, tmp_path):
    figures = wer(data, "commands", heard[0], tmp_path)
    print("commands", figures)
    assert figures["wer"] <= 24.1
    assert figures["silent"] == 0


def test_long_audio_loses_and_repeats_nothing(data, heard):
    rows = [r for r in manifest("sentences") if r["path"].split("/")[-1].startswith("long_") and r["text"]]
    assert rows
    for row in rows:
        outcome = heard[0][str(data / "sentences" / row["path"])]
        said, heard_words = len(row["text"].split()), len(outcome["transcript"]["text"].split())
        assert 0.93 < heard_words / said < 1.07, row["path"]
        ends = [s["end_s"] for s in outcome["transcript"]["segments"]]
        assert ends == sorted(ends)
        assert ends[-1] <= row["seconds"] + 0.1


def test_silence_and_noise_give_no_words_and_cost_no_further_model(heard):
    quiet = {n: o for n, o in heard[0].items() if "/nonspeech/" in n or "/_silence_/" in n}
    quiet |= {n: o for n, o in heard[0].items() if n.endswith(("noise_1000ms.wav", "silence_1000ms.wav"))}
    assert len(quiet) >= 36
    invented = {n: o["transcript"]["text"] for n, o in quiet.items() if o["transcript"]["text"]}
    print("words in silence", invented)
    assert len(invented) <= 2
    for name, outcome in quiet.items():
        if name not in invented:
            assert outcome["intent"]["label"] == "noise"
            assert outcome["reply"] is None
            assert list(outcome["stages"]) == ["scribe"]
            assert outcome["transcript"]["guards"], "the guard that fired is named"


def test_odd_files_end_as_their_manifest_expects_and_harm_nobody(odd):
    folder, rows = odd
    outcomes, done = run_json([folder / row["path"] for row in rows])
    assert "Traceback" not in done.stderr
    assert done.returncode == 1, "some of these files are broken, so the run says so"
    assert len(outcomes) == len(rows)
    wrong = []
    for row in rows:
        outcome = outcomes[row["path"].split("/")[-1]]
        words = (outcome["transcript"] or {}).get("text", "")
        got = "error" if outcome["state"] == "failed" else "ok" if words else "empty"
        if row["expect"] not in (got, "either"):
            wrong.append((row["path"], row["expect"], got, words, outcome["error"]))
        if got == "error":
            assert outcome["error"]["code"].startswith(("bad-audio", "audio-")), outcome
            assert "\n" not in outcome["error"]["message"]
            assert row["path"].split("/")[-1] in outcome["error"]["message"]
    assert not wrong


def test_the_words_intents_and_replies_are_the_same_alone_and_in_batches(data):
    files = [data / "commands" / row["path"] for row in manifest("commands")[:6]]
    alone, _ = run_json(files, "--seed", "7", GOLEM_BATCH="1")
    together, _ = run_json(files, "--seed", "7", GOLEM_BATCH="8")
    for name in alone:
        for part in ("transcript", "intent", "reply"):
            a, b = alone[name][part], together[name][part]
            key = {"transcript": "text", "intent": "label", "reply": "text"}[part]
            assert a[key] == b[key], (name, part)
