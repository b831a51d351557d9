"""Beam search gives the texts of transformers' `generate(num_beams=…)`, whatever ends when and shares a batch."""

import dataclasses
from collections.abc import Iterator
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
from transformers.modeling_outputs import BaseModelOutput

from golem_chain.workers.stages.finite import NotFinite
from golem_chain.workers.stages.likeliest import likeliest
from golem_chain.workers.stages.scribe.whisper import beams as beam_search
from golem_chain.workers.stages.scribe.whisper import decoding
from golem_chain.workers.stages.scribe.whisper import greedy as greedy_search
from golem_chain.workers.stages.scribe.whisper.decoder import Decoder
from golem_chain.workers.stages.scribe.whisper.decoding import Decoded, Specials, decode_tokens
from tests.support.whisper_models import whisper

MOST, ROWS = 20, 4
Whisper = Any  # WhisperForConditionalGeneration, which comes without types


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=[False, True], ids=["english", "multilingual"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    return whisper(tmp_path_factory.mktemp("whisper"), multilingual=request.param).model


@pytest.fixture(scope="module")
def encoded(model: Whisper) -> torch.Tensor:
    features = torch.randn(ROWS, 80, 3000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found: torch.Tensor = model.model.encoder(features).last_hidden_state
    return found


def ours(
    model: Whisper, encoded: torch.Tensor, specials: Specials, *, timestamps: bool, beams: int = 5, most: int = MOST
) -> list[Decoded]:
    count = len(encoded)
    return decode_tokens(
        model, encoded, specials, languages=[None] * count, tasks=["transcribe"] * count, timestamps=timestamps,
        max_tokens=most, beams=beams,
    )  # fmt: skip


def theirs(
    model: Whisper, encoded: torch.Tensor, specials: Specials, language: str | None, *, timestamps: bool, beams: int
) -> tuple[list[int], float]:
    """The text of one window and its score, with transformers' processors in the order of its `generate`."""
    prompt = [specials.start, *specials.prompt(language, "transcribe", timestamps)]
    known, begin = model.generation_config, len(prompt)
    known.eos_token_id = known.pad_token_id = specials.end
    rules = [
        SuppressTokensAtBeginLogitsProcessor(known.begin_suppress_tokens, begin_index=begin),
        SuppressTokensLogitsProcessor(known.suppress_tokens),
        *([WhisperTimeStampLogitsProcessor(known, begin_index=begin)] if timestamps else []),
    ]
    found = GenerationMixin.generate(
        model,
        encoder_outputs=BaseModelOutput(encoded.clone()),
        decoder_input_ids=torch.tensor([prompt]),
        logits_processor=LogitsProcessorList(rules),
        do_sample=False,
        num_beams=beams,
        max_length=MOST,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        return_dict_in_generate=True,
        output_scores=True,
    )
    tokens = found.sequences[0, begin:].tolist()
    return [token for token in tokens if token != specials.end], float(found.sequences_scores[0])


def ending(model: Whisper, encoded: torch.Tensor, timestamps: bool) -> list[Specials]:
    """Those of the checkpoint, and others in which a token that is often said is the end: texts then end soon, late or
    never."""
    plain = dataclasses.replace(Specials.of(model.generation_config), end=model.config.eos_token_id)
    said = [token for one in ours(model, encoded, plain, timestamps=timestamps) for token in one.tokens]
    text = [token for token in dict.fromkeys(said) if token < plain.end]
    return [plain, *(dataclasses.replace(plain, end=token) for token in text[:: max(1, len(text) // 4)])]


@pytest.mark.parametrize("beams", [2, 5])
@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timestamps"])
@pytest.mark.filterwarnings("ignore")
def test_a_batch_gives_the_texts_and_scores_of_transformers_window_by_window(
    model: Whisper, encoded: torch.Tensor, timestamps: bool, beams: int
) -> None:
    lengths = set()
    for specials in ending(model, encoded, timestamps):
        for row, found in enumerate(ours(model, encoded, specials, timestamps=timestamps, beams=beams)):
            one = encoded[row : row + 1]
            tokens, score = theirs(model, one, specials, found.language, timestamps=timestamps, beams=beams)
            assert list(found.tokens) == tokens
            assert found.raw_logprob / (len(tokens) + (not found.full)) == pytest.approx(score, rel=1e-4)
            lengths.add(len(tokens))
    if not model.generation_config.is_multilingual:
        assert len(lengths) > 1, "some texts must end before the limit, or the test shows little"


def test_a_window_gets_the_same_text_alone_and_beside_others(model: Whisper, encoded: torch.Tensor) -> None:
    for timestamps in (False, True):
        for specials in ending(model, encoded, timestamps):
            together = ours(model, encoded, specials, timestamps=timestamps)
            alone = [ours(model, one[None], specials, timestamps=timestamps)[0] for one in encoded]
            assert [one.tokens for one in together] == [one.tokens for one in alone]


@pytest.mark.parametrize("beams", [1, 5])
def test_loops_that_a_card_runs_give_the_same_texts(
    model: Whisper, encoded: torch.Tensor, beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masked caches of constant shape, and reads once in four steps, on a CPU."""
    for timestamps in (False, True):
        for specials in ending(model, encoded, timestamps):
            usual = ours(model, encoded, specials, timestamps=timestamps, beams=beams)
            with monkeypatch.context() as patch:
                patch.setattr(decoding, "Decoder", lambda *args, **more: Decoder(*args, **more, still=True))
                for module in (beam_search, greedy_search):
                    patch.setattr(module, "steps_per_read", lambda device: 4)
                still = ours(model, encoded, specials, timestamps=timestamps, beams=beams)
            assert [(one.tokens, one.full) for one in still] == [(one.tokens, one.full) for one in usual]


def test_equal_logits_end_in_one_text_per_window(model: Whisper, encoded: torch.Tensor) -> None:
    """All tokens are equally likely at every step: any text will do, and none is an error."""
    specials, weight = Specials.of(model.generation_config), model.proj_out.weight
    kept = weight.data.clone()
    try:
        weight.data.zero_()
        found = ours(model, encoded, dataclasses.replace(specials, end=model.config.eos_token_id), timestamps=False)
    finally:
        weight.data.copy_(kept)
    assert all(-20 < one.avg_logprob < 0 for one in found)
    assert not {*specials.suppressed} & {token for one in found for token in one.tokens}


def test_a_text_may_end_at_its_first_token(model: Whisper, encoded: torch.Tensor) -> None:
    specials = Specials.of(model.generation_config)
    everything = tuple(range(specials.end)) + tuple(range(specials.end + 1, model.config.vocab_size))
    only_end = dataclasses.replace(specials, suppressed=everything, suppressed_first=())
    for beams in (1, 5):
        for one in ours(model, encoded, only_end, timestamps=False, beams=beams):
            assert (one.tokens, one.full) == ((), False)
            assert one.avg_logprob == pytest.approx(0.0, abs=1e-5)


def test_rules_that_allow_no_token_give_no_text_and_no_error(model: Whisper, encoded: torch.Tensor) -> None:
    specials = Specials.of(model.generation_config)
    nothing = dataclasses.replace(specials, suppressed=tuple(range(model.config.vocab_size)))
    for beams in (1, 5):
        found = ours(model, encoded, nothing, timestamps=False, beams=beams)
        assert [one.tokens for one in found] == [()] * ROWS
        assert all(one.avg_logprob == one.avg_logprob for one in found)


@pytest.mark.parametrize("beams", [1, 5])
def test_logits_that_are_not_numbers_are_an_error_at_the_first_step_and_at_later_ones(
    model: Whisper, encoded: torch.Tensor, beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    specials, step = Specials.of(model.generation_config), Decoder.step
    for bad in (1, 6):
        steps = 0

        def broken(self: Decoder, tokens: torch.Tensor, bad: int = bad) -> torch.Tensor:
            nonlocal steps
            steps += 1
            logits = step(self, tokens)
            if steps == bad:
                logits[-1, 9] = torch.nan
            return logits

        with monkeypatch.context() as patch:
            patch.setattr(Decoder, "step", broken)
            with pytest.raises(NotFinite):
                ours(model, encoded, specials, timestamps=False, beams=beams)


def test_a_temperature_samples_instead_of_searching(model: Whisper, encoded: torch.Tensor) -> None:
    specials = Specials.of(model.generation_config)

    def sampled(beams: int) -> list[tuple[int, ...]]:
        found = decode_tokens(
            model, encoded, specials, languages=[None] * ROWS, tasks=["transcribe"] * ROWS, timestamps=False,
            max_tokens=MOST, beams=beams, temperature=1.0, seeds=[3] * ROWS,
        )  # fmt: skip
        return [one.tokens for one in found]

    assert sampled(5) == sampled(1)


@pytest.mark.parametrize("vocabulary", [700, 640, 2071])
def test_the_likeliest_tokens_are_those_of_topk(vocabulary: int) -> None:
    logits = torch.randn(7, vocabulary, generator=torch.Generator().manual_seed(2))
    logits[0, -3:] = 9.0 + torch.arange(3)  # behind the last whole block
    logits[1] = -torch.inf
    logits[1, 77] = 0.0
    for count in (1, 5):
        assert torch.equal(logits.gather(1, likeliest(logits, count)), logits.topk(count).values)
