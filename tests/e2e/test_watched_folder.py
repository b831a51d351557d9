"""A watched folder with the bundled models, from the command line."""

import json
import shutil

import pytest

from tests.support.paths import SAMPLES
from tests.support.recordings import golem


@pytest.mark.models
@pytest.mark.timeout(300)
def test_a_folder_of_recordings_becomes_a_tree_of_subtitles_once(tmp_path):
    names = ("lights-on", "timer", "silence")
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in names:
        shutil.copy(SAMPLES / f"{name}.flac", tmp_path / "in" / "sub")
    (tmp_path / "in" / "bad.wav").write_text("no audio")
    typed = ("watch", tmp_path / "in", "-o", tmp_path / "out", "-f", "srt", "-f", "json", "--stop", "scribe", "--once")
    done = golem(*typed)
    assert done.returncode == 1, done.stderr
    subtitles = {name: (tmp_path / "out" / "sub" / f"{name}.srt").read_text() for name in names}
    assert "turn on the lights in the kitchen" in subtitles["lights-on"]
    assert subtitles["timer"].startswith("1\n00:00:0")
    assert subtitles["silence"] == ""
    outcome = json.loads((tmp_path / "out" / "sub" / "timer.json").read_text())
    assert (list(outcome["stages"]), outcome["state"]) == (["scribe"], "done")
    assert [json.loads(one)["code"] for one in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()] == [
        "bad-audio"
    ]
    (tmp_path / "in" / "bad.wav").unlink()
    done = golem(*typed)
    assert (done.returncode, done.stdout) == (0, "")
    assert "0 files done, 3 done before." in done.stderr
    assert not (tmp_path / "out" / "failures.jsonl").exists()
