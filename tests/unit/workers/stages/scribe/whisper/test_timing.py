"""Word times: alignment path, grouping into words, voice activity, and the attention that they are derived from."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from transformers import WhisperForConditionalGeneration

from golem_chain.workers.stages.scribe.audio.speech import Span
from golem_chain.workers.stages.scribe.whisper.alignment import align, heads_of
from golem_chain.workers.stages.scribe.whisper.decoder import cross_of
from golem_chain.workers.stages.scribe.whisper.decoding import Specials
from golem_chain.workers.stages.scribe.whisper.timing import (
    TokenTime,
    WordPiece,
    first_frames,
    kept,
    smooth,
    word_pieces,
    words,
)
from tests.support.paths import DATA
from tests.support.whisper_models import whisper


def cell_by_cell(cost: np.ndarray) -> list[int]:
    """Return the path as openai/whisper computes it, including ties."""
    total = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    came = np.full(total.shape, 2)
    total[0, 0], came[:, 0] = 0, 1
    for j in range(1, total.shape[1]):
        for i in range(1, total.shape[0]):
            both, row, column = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
            came[i, j] = 0 if both < row and both < column else 1 if row < both and row < column else 2
            total[i, j] = cost[i - 1, j - 1] + (both, row, column)[came[i, j]]
    first = [0] * cost.shape[0]
    i, j = cost.shape
    while i > 0 and j > 0:
        first[i - 1] = j - 1
        move = came[i, j]
        i, j = i - (move != 2), j - (move != 1)
    return first


@given(nps.arrays(np.float64, st.tuples(st.integers(1, 7), st.integers(1, 12)), elements=st.integers(-9, 9)))
def test_the_path_is_the_one_that_is_found_cell_by_cell(cost: np.ndarray) -> None:
    assert first_frames(cost).tolist() == cell_by_cell(cost)


def test_a_clear_diagonal_gives_its_own_times() -> None:
    cost = np.ones((4, 20))
    for row in range(4):
        cost[row, 5 * row : 5 * row + 5] = -1
    assert first_frames(cost).tolist() == [0, 5, 10, 15]


def test_smoothing_takes_the_median_of_seven() -> None:
    weights = np.random.default_rng(0).normal(size=(2, 30)).astype(np.float32)
    middle = smooth(weights)
    assert middle.shape == weights.shape
    assert middle[1, 10] == np.median(weights[1, 7:14])
    assert smooth(weights[:, :3]).shape == (2, 3)


LETTERS = {1: " Turn", 2: " it", 3: " off", 4: ".", 5: " «", 6: "no", 7: "»", 8: "開", 9: "け", 10: "。"}


def decode(tokens: Any) -> str:
    """Decode; a character of two tokens needs both."""
    return "".join(LETTERS.get(token, "\ufffd") for token in tokens).replace("\ufffd\ufffd", " é")


@pytest.mark.parametrize(
    ("tokens", "language", "found"),
    [
        ([1, 2, 3, 4], "en", [("Turn", 1), ("it", 1), ("off.", 2)]),
        ([1, 5, 6, 7, 4], "en", [("Turn", 1), ("«no».", 4)]),
        ([1, 20, 21, 6], None, [("Turn", 1), ("éno", 3)]),
        ([8, 9, 10], "ja", [("開", 1), ("け。", 2)]),
        ([1, 20], "en", [("Turn\ufffd", 2)]),
        ([], "en", []),
    ],
)
def test_tokens_become_words_with_their_punctuation(tokens: list[int], language: str | None, found: Any) -> None:
    assert [(piece.text, piece.tokens) for piece in word_pieces(tokens, decode, language)] == found


@pytest.mark.parametrize(
    ("start_s", "end_s", "last", "found"),
    [
        (1.2, 1.5, False, (1.2, 1.5)),
        (1.8, 3.2, False, (2.9, 3.2)),  # extends back over the pause
        (1.6, 3.2, True, (1.6, 2.1)),  # the attention lags behind the end of the sentence
        (2.4, 2.6, False, (2.4, 2.6)),  # no voice detected: kept unchanged
        (0.0, 1.3, False, (0.9, 1.3)),
    ],
)
def test_a_word_keeps_to_the_voice(start_s: float, end_s: float, last: bool, found: tuple[float, float]) -> None:
    assert kept(start_s, end_s, [Span(1.0, 2.0), Span(3.0, 4.0)], last=last) == pytest.approx(found)


def test_words_stand_in_the_recording_and_not_in_the_window() -> None:
    times = [TokenTime(0.0, 0.5, 0.9), TokenTime(0.5, 0.8, 0.5), TokenTime(0.8, 1.0, 0.7)]
    first, second = words([WordPiece("Turn", 1), WordPiece("it.", 2)], times, 30.0, [Span(30.0, 31.0)])
    assert (first.start_s, first.end_s, first.prob) == (30.0, 30.5, 0.9)
    assert (second.word, second.start_s, second.end_s, second.prob) == ("it.", 30.5, 31.0, 0.6)


def test_a_checkpoint_that_names_no_heads_gives_the_upper_half_of_its_layers(tmp_path: Path) -> None:
    held = whisper(tmp_path, multilingual=False)
    assert heads_of(held.model.generation_config, held.config) == ((1, 0), (1, 1))
    held.model.generation_config.alignment_heads = [[0, 1]]
    assert heads_of(held.model.generation_config, held.config) == ((0, 1),)


def test_attention_and_probabilities_are_those_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = whisper(tmp_path, multilingual=False)
    specials, heads, frames = Specials.of(held.model.generation_config), ((0, 1), (1, 0)), 700
    model: Any = WhisperForConditionalGeneration._from_config(held.model.config, attn_implementation="eager").eval()
    model.load_state_dict(held.model.state_dict())
    text, prompt = [11, 30, 12, 40, 9], [specials.start, specials.no_timestamps]
    features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(3))
    seen: list[np.ndarray] = []

    def first_frames(cost: np.ndarray) -> np.ndarray:
        seen.append(cost)
        return np.arange(cost.shape[0])

    monkeypatch.setattr("golem_chain.workers.stages.scribe.whisper.alignment.first_frames", first_frames)
    with torch.inference_mode():
        encoded = held.model.model.encoder(features).last_hidden_state
        times = align(held.model, cross_of(held.model, encoded), prompt, text, specials.end, heads, frames)
        tokens = torch.tensor([[*prompt, *text, specials.end]])
        theirs = model(input_features=features, decoder_input_ids=tokens, output_attentions=True)
    expected = np.zeros((len(text) + 1, frames), np.float32)
    for layer, head in heads:
        weights = theirs.cross_attentions[layer][0, head, :, :frames]
        weights = weights / weights.sum(-1, keepdim=True)
        normed = (weights - weights.mean(0)) / weights.std(0, unbiased=False)
        expected += smooth(normed.numpy())[1:-1]
    assert np.allclose(-seen[0], expected, atol=1e-3)
    probs = theirs.logits[0, 1:-2, : specials.end].softmax(-1).gather(1, torch.tensor(text)[:, None])[:, 0]
    assert [time.prob for time in times] == pytest.approx(probs.tolist(), rel=1e-3)


@pytest.mark.models
@pytest.mark.recordings
def test_words_of_joined_recordings_fall_within_their_own(tmp_path: Path, bundled_scribe) -> None:
    import soundfile

    from golem_chain.workers.stages.engine import Ready
    from golem_chain.workers.stages.scribe.audio.decode import decode as read
    from golem_chain.workers.stages.scribe.engine import Recording

    folder = DATA / "sentences" / "librispeech"
    if not folder.is_dir():
        pytest.skip("the recordings in ../shared/data are missing")
    files = [folder / f"237-134500-00{n}.flac" for n in (14, 16, 17)]
    sounds = [read(path.read_bytes(), path.name, bundled_scribe.settings) for path in files]
    pause = np.zeros(8000, np.float32)
    joined = np.concatenate([part for sound in sounds for part in (sound, pause)])
    soundfile.write(tmp_path / "joined.wav", joined, 16_000)
    prepared = bundled_scribe.prepare(Recording("joined.wav", (tmp_path / "joined.wav").read_bytes(), word_times=True))
    assert isinstance(prepared, Ready)
    (answer,) = bundled_scribe.run([prepared.item])
    found = [word for segment in answer.segments for word in segment.words]
    assert " ".join(word.word for word in found) == answer.text
    assert all(a.start_s <= b.start_s and a.end_s <= b.end_s for a, b in pairwise(found))
    assert found[-1].end_s <= len(joined) / 16_000
    ends = np.cumsum([len(sound) / 16_000 + 0.5 for sound in sounds])
    last = {"trees": 0, "are": 1, "feel": 1}  # the last words of the first two, and the first of the third
    for word in found:
        clip = int(np.searchsorted(ends, word.start_s + 0.2))
        assert word.end_s <= ends[clip] - 0.5 + 0.2, word
        said = word.word.strip(".,").lower()
        assert clip <= last.get(said, 2) + (said == "feel"), word
