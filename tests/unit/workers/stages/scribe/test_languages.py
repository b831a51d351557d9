"""Languages: the language of a transcript, and the multilingual Scribe on real speech."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from golem_chain.shared.errors import GolemError
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.scribe import engine
from golem_chain.workers.stages.scribe.audio.windows import Window
from golem_chain.workers.stages.scribe.judging import spoken_language
from golem_chain.workers.stages.scribe.transcribe import Work
from golem_chain.workers.stages.scribe.whisper.decoding import Decoded
from tests.support import paths
from tests.support.paragraphs import PARAGRAPHS

DATA = paths.DATA / "multilingual"


def heard(start_s: float, end_s: float, language: str | None, text: str = "words") -> Any:
    said = Decoded((1,), -0.1, 0.0, language, False)
    return Work(None, Window(start_s, end_s), timestamps=True, said=said, text=text)  # type: ignore[arg-type]  # its sound is not looked at


@pytest.mark.parametrize(
    ("work", "language"),
    [
        ([(0, 10, "ru"), (10, 15, "de"), (15, 19, "de")], "ru"),  # the longest time, not the most windows
        ([(0, 10, "de"), (10, 20, "ru")], "de"),  # a tie: the first
        ([(0, 10, "ru"), (10, 40, "nn", "")], "ru"),  # windows without text do not count
        ([(0, 10, None)], None),
        ([], None),
    ],
)
def test_a_transcript_is_in_the_language_in_which_most_was_said(work: list[Any], language: str | None) -> None:
    assert spoken_language([heard(*given) for given in work]) == language


@pytest.fixture(scope="module")
def listener() -> engine.Scribe:
    from golem_chain.workers.store.load import Weights
    from golem_chain.workers.store.manifest import find

    if not DATA.is_dir():
        pytest.skip("the recordings in ../shared/data/multilingual are missing")
    settings = Settings.read(_env_file=None, models="multilingual")
    try:
        made = engine.Scribe(Weights(find(settings, "scribe"), engine.make), settings)
        made.load()
    except GolemError as exc:
        pytest.skip(f"{exc.message} (GOLEM_MODELS=multilingual)")
    return made


@pytest.mark.models
@pytest.mark.recordings
def test_speech_is_heard_in_its_own_language_and_translated_on_request(listener: engine.Scribe) -> None:
    rows = {row["path"]: row for row in map(json.loads, (DATA / "manifest.jsonl").read_text().splitlines())}
    paths = ["ru_neural_networks.wav", "de_cheetah.wav", "zh_48k.flac"]
    asks = [engine.Recording(path, (DATA / path).read_bytes(), None, "transcribe") for path in paths]
    asks.append(engine.Recording(paths[0], (DATA / paths[0]).read_bytes(), "ru", "translate"))
    ready = [listener.prepare(ask) for ask in asks]
    *said, translated = listener.run([entry.item for entry in ready if isinstance(entry, Ready)])
    assert [transcript.language for transcript in said] == [rows[path]["language"] for path in paths]
    assert all(segment.language == one.language for one in said for segment in one.segments)
    assert said[0].text.casefold().rstrip(".").endswith("сети. это хорошо")
    assert said[1].text == rows[paths[1]]["text"]
    assert translated.text.isascii()
    assert translated.text.casefold().rstrip(".").endswith("network")


@pytest.mark.models
def test_hindi_with_more_tokens_than_the_limit_is_heard_to_its_end(
    listener: engine.Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    words = " ".join([PARAGRAPHS["hi"]] * 2)
    said = subprocess.run(["espeak-ng", "-v", "hi", "-s", "260", "--stdout", words], capture_output=True, check=True)
    found: list[Work] = []
    hear = listener.transcriber.hear

    def watched(*given: Any) -> list[Work]:
        found.extend(work := hear(*given))
        return work

    monkeypatch.setattr(listener.transcriber, "hear", watched)
    sound = listener.prepare(engine.Recording("hindi", said.stdout, "hi"))
    assert isinstance(sound, Ready)
    (answer,) = listener.run([sound.item])
    assert answer.text
    assert len(found) > 1
    assert not any(item.heard.full for item in found)
