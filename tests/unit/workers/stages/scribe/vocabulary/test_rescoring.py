"""A branch of the text is as likely as the whole changed text would be alone."""

import math
from typing import Any

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from golem_chain.workers.stages.scribe.vocabulary.hotwords import Candidate, Hotword, replaced
from golem_chain.workers.stages.scribe.vocabulary.rescoring import FOLLOWING, Rescorer
from golem_chain.workers.stages.scribe.whisper.decoder import cross_of
from golem_chain.workers.stages.scribe.whisper.decoding import Specials
from tests.support.whisper_models import whisper

HEARD = [20, 21, 22, 23, 24, 25]


@pytest.fixture(scope="module", params=[False, True], ids=["English-only", "multilingual"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = whisper(tmp_path_factory.mktemp("whisper"), multilingual=request.param).model
    features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        encoded = model.model.encoder(features).last_hidden_state
    specials = Specials.of(model.generation_config)
    prompt = [specials.start, *specials.prompt("ru" if request.param else None, "transcribe", timestamps=False)]
    return model, encoded, prompt, specials.end


def logprob(model: Any, encoded: torch.Tensor, whole: list[int], first: int, last: int) -> float:
    """The log-probability of the tokens from `first` to before `last`, from one pass of transformers."""
    with torch.inference_mode():
        logits = model(
            decoder_input_ids=torch.tensor([whole[:-1]]), encoder_outputs=BaseModelOutput(encoded), use_cache=False
        ).logits
    logprobs = logits[0].double().log_softmax(-1)
    return sum(float(logprobs[at - 1, whole[at]]) for at in range(first, min(last, len(whole))))


def candidate(start: int, end: int, *tokens: int) -> Candidate:
    return Candidate(Hotword("x", tokens, "x"), start, end, 1.0)


def test_every_gain_is_that_of_the_changed_text_alone(small: Any) -> None:
    model, encoded, prompt, end = small
    found = [candidate(0, 1, 30), candidate(2, 4, 31, 32, 33), candidate(1, 6, 34, 35), candidate(5, 6, 36, 37)]
    supports = Rescorer(model, end).supports(cross_of(model, encoded), prompt, HEARD, found)
    heard = [*prompt, *HEARD, end]
    for one, (gain, heard_as) in zip(found, supports, strict=True):
        first = len(prompt) + one.start
        changed = [*prompt, *replaced(HEARD, [one]), end]
        expected = logprob(model, encoded, changed, first, first + len(one.hotword.tokens) + FOLLOWING)
        expected -= logprob(model, encoded, heard, first, len(prompt) + one.end + FOLLOWING)
        assert gain == pytest.approx(expected, abs=1e-3)
        assert heard_as == pytest.approx(logprob(model, encoded, heard, first, len(prompt) + one.end), abs=1e-3)
    gains = [gain for gain, _ in supports]
    assert max(gains) - min(gains) > 0.1, "the candidates differ"


def test_a_hotword_that_the_context_cannot_hold_is_never_taken(small: Any) -> None:
    model, encoded, prompt, end = small
    positions = model.config.max_target_positions
    found = [candidate(0, 1, *[30] * positions), candidate(0, 1, 30)]
    too_long, short = Rescorer(model, end).supports(cross_of(model, encoded), prompt, HEARD, found)
    assert too_long.gain == -math.inf
    assert math.isfinite(short.gain)
    full = [21] * (positions - len(prompt))
    some = [candidate(len(full) - 1, len(full), 30)]
    [last] = Rescorer(model, end).supports(cross_of(model, encoded), prompt, full, some)
    assert math.isfinite(last.gain)
