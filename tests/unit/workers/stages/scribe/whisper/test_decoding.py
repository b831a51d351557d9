"""Greedy decoding gives the same tokens as transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationMixin
from transformers.generation.logits_process import (
    LogitsProcessorList,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)

from golem_chain.shared.errors import GolemError
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.scribe.whisper.decoder import Decoder
from golem_chain.workers.stages.scribe.whisper.decoding import Specials, decode_tokens
from tests.support.paths import DATA
from tests.support.whisper_models import LANGUAGES, whisper

MOST = 60
Whisper = Any  # WhisperForConditionalGeneration, which comes without types


def encode(model: Whisper, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random features (count, 80, 3000) and their encoder output."""
    features = torch.randn(count, 80, 3000, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return features, model.model.encoder(features.to(model.dtype)).last_hidden_state


def theirs(model: Whisper, features: torch.Tensor, prompt: list[int], *, timestamps: bool) -> list[int]:
    """Decode one row with transformers' greedy search and its Whisper processors, in the order of `generate`."""
    known, begin = model.generation_config, len(prompt)
    rules = [
        SuppressTokensAtBeginLogitsProcessor(known.begin_suppress_tokens, begin_index=begin),
        SuppressTokensLogitsProcessor(known.suppress_tokens),
        *([WhisperTimeStampLogitsProcessor(known, begin_index=begin)] if timestamps else []),
    ]
    found = GenerationMixin.generate(
        model,
        input_features=features,
        decoder_input_ids=torch.tensor([prompt]),
        logits_processor=LogitsProcessorList(rules),
        do_sample=False,
        num_beams=1,
        max_length=MOST,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    return [token for token in found[0, begin:].tolist() if token != known.eos_token_id]


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("multilingual", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_batch_gives_the_tokens_of_transformers_row_by_row(
    tmp_path: Path, multilingual: bool, timestamps: bool
) -> None:
    model = whisper(tmp_path, multilingual=multilingual).model
    specials = Specials.of(model.generation_config)
    features, encoded = encode(model, 6)
    mine = decode_tokens(
        model, encoded, specials, languages=[None] * 6, tasks=["transcribe"] * 6, timestamps=timestamps, max_tokens=MOST
    )
    tail = [] if timestamps else [specials.no_timestamps]
    for row, decoded in enumerate(mine):
        spoken = [specials.languages[decoded.language], specials.tasks["transcribe"]] if decoded.language else []
        prompt = [specials.start, *spoken, *tail]
        assert list(decoded.tokens) == theirs(model, features[row : row + 1], prompt, timestamps=timestamps)
    assert len({decoded.tokens for decoded in mine}) > 1, "the rows must differ, or the test shows nothing"


def test_languages_and_tasks_may_differ_within_a_batch(tmp_path: Path) -> None:
    model = whisper(tmp_path, multilingual=True).model
    specials = Specials.of(model.generation_config)
    _, encoded = encode(model, 3)
    asked: list[tuple[str | None, Any]] = [("de", "transcribe"), ("ru", "translate"), (None, "transcribe")]

    def decode(rows: list[int]) -> list[tuple[int, ...]]:
        found = decode_tokens(
            model, encoded[rows], specials, languages=[asked[n][0] for n in rows], tasks=[asked[n][1] for n in rows],
            timestamps=False, max_tokens=MOST,
        )  # fmt: skip
        return [decoded.tokens for decoded in found]

    assert decode([0, 1, 2]) == [decode([n])[0] for n in range(3)]


@pytest.mark.filterwarnings("ignore")
def test_the_language_is_the_one_that_transformers_detects(tmp_path: Path) -> None:
    model = whisper(tmp_path, multilingual=True).model
    specials = Specials.of(model.generation_config)
    features, encoded = encode(model, 5)
    mine = decode_tokens(
        model, encoded, specials, languages=[None] * 5, tasks=["transcribe"] * 5, timestamps=False, max_tokens=8
    )
    ids = model.detect_language(input_features=features).flatten().tolist()
    assert [specials.languages[decoded.language or ""] for decoded in mine] == ids
    assert {decoded.language for decoded in mine} <= set(LANGUAGES)


def test_the_no_speech_probability_is_that_of_the_first_step_before_suppression(tmp_path: Path) -> None:
    model = whisper(tmp_path, multilingual=False).model
    specials = Specials.of(model.generation_config)
    features, encoded = encode(model, 2)
    with torch.inference_mode():
        logits = model(input_features=features, decoder_input_ids=torch.full((2, 1), specials.start)).logits[:, 0]
    mine = decode_tokens(
        model, encoded, specials, languages=[None] * 2, tasks=["transcribe"] * 2, timestamps=False, max_tokens=8
    )
    expected = logits.softmax(-1)[:, specials.no_speech].tolist()
    assert [decoded.no_speech_prob for decoded in mine] == pytest.approx(expected, rel=1e-4)


def test_logprobs_are_means_of_the_chosen_tokens(tmp_path: Path) -> None:
    model = whisper(tmp_path, multilingual=False).model
    specials = Specials.of(model.generation_config)
    _, encoded = encode(model, 4)
    for decoded in decode_tokens(
        model, encoded, specials, languages=[None] * 4, tasks=["transcribe"] * 4, timestamps=False, max_tokens=MOST
    ):
        assert -15 < decoded.avg_logprob < 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_decodes(tmp_path: Path, dtype: torch.dtype) -> None:
    model = whisper(tmp_path, multilingual=False, dtype=dtype).model
    _, encoded = encode(model, 2)
    found = decode_tokens(
        model, encoded, Specials.of(model.generation_config), languages=[None] * 2, tasks=["transcribe"] * 2,
        timestamps=True, max_tokens=20,
    )  # fmt: skip
    assert all(decoded.tokens and decoded.avg_logprob < 0 for decoded in found)


def test_the_limit_stops_a_text_that_does_not_end(tmp_path: Path) -> None:
    model = whisper(tmp_path, multilingual=False).model
    specials = Specials.of(model.generation_config)
    model.proj_out.weight.data[specials.end] = -100.0 * model.proj_out.weight.data.abs().mean()
    _, encoded = encode(model, 2)
    found = decode_tokens(
        model, encoded, specials, languages=[None] * 2, tasks=["transcribe"] * 2, timestamps=False, max_tokens=9999
    )
    for decoded in found:  # the loop stops at the last position
        assert decoded.full is (len(decoded.tokens) == 63), decoded


def test_rows_that_left_change_nothing_for_those_that_stay(tmp_path: Path) -> None:
    model = whisper(tmp_path, multilingual=False).model
    _, encoded = encode(model, 3)
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    with torch.inference_mode():
        whole, part = Decoder(model, encoded), Decoder(model, encoded)
        whole.step(tokens)
        part.step(tokens)
        part.keep(torch.tensor([2, 0]))
        all_rows = whole.step(torch.tensor([[10], [11], [12]]))
        kept = part.step(torch.tensor([[12], [10]]))
    assert torch.allclose(kept, all_rows[[2, 0]], atol=1e-5)


@pytest.mark.models
@pytest.mark.recordings
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize("timestamps", [False, True])
def test_real_speech_gives_the_tokens_of_generate(timestamps: bool, beams: int) -> None:
    from transformers import WhisperFeatureExtractor

    from golem_chain.workers.stages.scribe.audio.decode import decode
    from golem_chain.workers.stages.scribe.engine import make
    from golem_chain.workers.store import find
    from golem_chain.workers.store.load import Weights

    folder = DATA / "sentences" / "librispeech"
    if not folder.is_dir():
        pytest.skip("the recordings in ../shared/data are missing")
    settings = Settings.read(_env_file=None)
    try:
        weights = Weights(find(settings, "scribe"), make)
        model: Any = weights.load()
    except GolemError as exc:
        pytest.skip(exc.message)
    sounds = [decode(p.read_bytes(), p.name, settings) for p in sorted(folder.glob("237-134500-002*.flac"))[:4]]
    extract = WhisperFeatureExtractor.from_pretrained(weights.folder)
    features = extract(sounds, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        encoded = model.model.encoder(features).last_hidden_state
    specials = Specials.of(model.generation_config)
    mine = decode_tokens(
        model, encoded, specials, languages=["en"] * 4 if specials.languages else [None] * 4, tasks=["transcribe"] * 4,
        timestamps=timestamps, max_tokens=448, beams=beams,
    )  # fmt: skip
    options: dict[str, Any] = {"language": "en", "task": "transcribe"} if specials.languages else {}
    options["num_beams"] = beams
    for row, decoded in enumerate(mine):
        found = model.generate(features[row : row + 1], return_timestamps=timestamps, **options)[0].tolist()
        text = [token for token in found if token not in (specials.start, specials.end, specials.no_timestamps)]
        text = [token for token in text if token < specials.end or token >= specials.first_time]
        # With timestamps, generate continues after the first segments if the model requires it; ours is a prefix.
        assert text[: len(decoded.tokens)] == list(decoded.tokens)
        assert timestamps or text == list(decoded.tokens)
