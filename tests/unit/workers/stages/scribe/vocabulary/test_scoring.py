"""The token tree gives the same log-probabilities as scoring each phrase alone with transformers."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import Vocabulary
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.scribe.vocabulary import scoring
from golem_chain.workers.stages.scribe.vocabulary.choice import Tree, softmax
from golem_chain.workers.stages.scribe.vocabulary.lexicon import Lexicons
from golem_chain.workers.stages.scribe.vocabulary.scoring import Scorer
from golem_chain.workers.stages.scribe.whisper.decoder import Decoder, cross_of
from golem_chain.workers.stages.scribe.whisper.decoding import Specials
from tests.support.paths import SAMPLES
from tests.support.whisper_models import TEXT, whisper


def naive(model: Any, encoded: torch.Tensor, prompt: Sequence[int], spelling: Sequence[int], end: int) -> float:
    """Return the log-probability of one spelling from one transformers forward pass."""
    whole = [*prompt, *spelling, end]
    with torch.inference_mode():
        logits = model(
            decoder_input_ids=torch.tensor([whole[:-1]]), encoder_outputs=BaseModelOutput(encoded), use_cache=False
        ).logits
    logprobs = logits[0].double().log_softmax(-1)
    return sum(float(logprobs[at - 1, whole[at]]) for at in range(len(prompt), len(whole)))


def expected(model: Any, encoded: torch.Tensor, prompt: Sequence[int], spelled: Sequence[Any], end: int) -> list[float]:
    return [
        float(torch.tensor([naive(model, encoded, prompt, one, end) for one in found], dtype=torch.double).logsumexp(0))
        for found in spelled
    ]


def phrases(count: int, seed: int) -> list[list[tuple[int, ...]]]:
    """One to three spellings per phrase, of one to six tokens from a small set, so that many share a prefix."""
    draw = torch.Generator().manual_seed(seed)

    def number(most: int) -> int:
        return int(torch.randint(1, most + 1, (1,), generator=draw))

    return [[tuple(8 + number(6) for _ in range(number(6))) for _ in range(number(3))] for _ in range(count)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], tuple[Any, torch.Tensor, Specials]]:
    def made(multilingual: bool) -> tuple[Any, torch.Tensor, Specials]:
        model = whisper(tmp_path_factory.mktemp("whisper"), multilingual=multilingual).model
        features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            encoded = model.model.encoder(features).last_hidden_state
        return model, encoded, Specials.of(model.generation_config)

    return made


@pytest.mark.parametrize("multilingual", [False, True])
def test_every_phrase_scores_as_it_would_alone(small: Any, multilingual: bool) -> None:
    model, encoded, specials = small(multilingual)
    prompt = [specials.start, *specials.prompt("ru" if multilingual else None, "transcribe", timestamps=False)]
    spelled = phrases(60, seed=3)
    spelled = [list(dict.fromkeys(found)) for found in spelled]
    tree = Tree.of((number, one) for number, found in enumerate(spelled) for one in found)
    scorer = Scorer(model, specials.end)
    found = scorer.score(cross_of(model, encoded), prompt, tree, len(spelled), slack=math.inf)
    assert found == pytest.approx(expected(model, encoded, prompt, spelled, specials.end), abs=1e-3)


def test_what_is_left_out_is_unlikely_and_what_matters_is_exact(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoded, specials = small(False)
    prompt = [specials.start, *specials.prompt(None, "transcribe", timestamps=False)]
    spelled = [[one] for one in {(first, *([8] * length)) for first in range(8, TEXT, 5) for length in range(12)}]
    tree = Tree.of((number, found[0]) for number, found in enumerate(spelled))
    rows: list[int] = []
    advance = Scorer._advance

    def watched(self: Scorer, cross: Any, before: Any, at: Any, tokens: Any) -> Any:
        rows.append(len(at))
        return advance(self, cross, before, at, tokens)

    monkeypatch.setattr(Scorer, "_advance", watched)
    scorer, cross = Scorer(model, specials.end), cross_of(model, encoded)
    whole = scorer.score(cross, prompt, tree, len(spelled), slack=math.inf)
    all_rows = sum(rows)
    rows.clear()
    found = scorer.score(cross, prompt, tree, len(spelled))
    assert sum(rows) < all_rows / 2
    assert max(rows) <= scoring._AT_ONCE
    assert softmax(found) == pytest.approx(softmax(whole), abs=1e-3)


def test_long_beginnings_go_fewer_at_once(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoded, specials = small(False)
    spelled = [[(8 + number, *[8] * 9)] for number in range(40)]
    tree = Tree.of((number, found[0]) for number, found in enumerate(spelled))
    scorer, cross = Scorer(model, specials.end), cross_of(model, encoded)
    free = scorer.score(cross, [specials.start], tree, 40, slack=math.inf)
    monkeypatch.setattr(scoring, "_CACHE_BYTES", 6000)
    assert scorer.score(cross, [specials.start], tree, 40, slack=math.inf) == pytest.approx(free, abs=1e-4)


def test_rows_that_leave_a_decoder_leave_the_sound_to_the_scores(small: Any) -> None:
    model, encoded, specials = small(False)
    cross = cross_of(model, encoded.expand(3, -1, -1))
    decoder = Decoder(model, encoded.expand(3, -1, -1), cross)
    with torch.inference_mode():
        decoder.step(torch.full((3, 1), specials.start))
        decoder.keep(torch.tensor([2]))
    assert all(len(keys) == len(values) == 3 for keys, values in cross)


@pytest.mark.models
@pytest.mark.filterwarnings("ignore")
def test_real_weights_score_as_one_phrase_after_the_other() -> None:
    from transformers import WhisperFeatureExtractor

    from golem_chain.workers.stages.scribe.audio.decode import decode
    from golem_chain.workers.stages.scribe.engine import make
    from golem_chain.workers.stages.tokenizer import load_tokenizer
    from golem_chain.workers.store import find
    from golem_chain.workers.store.load import Weights

    settings = Settings.read(_env_file=None)
    try:
        weights = Weights(find(settings, "scribe"), make)
        model: Any = weights.load()
    except GolemError as exc:
        pytest.skip(exc.message)
    clip = SAMPLES / "lights-on.flac"
    features = WhisperFeatureExtractor.from_pretrained(weights.folder)(
        [decode(clip.read_bytes(), clip.name, settings)], sampling_rate=16_000, return_tensors="pt"
    ).input_features
    with torch.inference_mode():
        encoded = model.model.encoder(features).last_hidden_state
    specials = Specials.of(model.generation_config)
    prompt = [specials.start, *specials.prompt("en" if specials.languages else None, "transcribe", timestamps=False)]
    tokenizer = load_tokenizer(weights.folder)
    lexicons = Lexicons(tokenizer, english_only=not specials.languages, checkpoint="tiny", most_tokens=400)
    asked = ("please turn on the lights in the kitchen", "stop", "go")
    lexicon = lexicons.of(Vocabulary(phrases=asked), "clip")
    spelled = [
        [tokens for tokens in _sequences(lexicon.tree) if number in lexicon.tree.complete(tokens)]
        for number in range(len(asked))
    ]
    cross = cross_of(model, encoded)
    found = Scorer(model, specials.end).score(cross, prompt, lexicon.tree, 3, slack=math.inf)
    assert found[1:] == pytest.approx(expected(model, encoded, prompt, spelled[1:], specials.end), abs=1e-3)
    faster = Scorer(model, specials.end, torch.bfloat16).score(cross, prompt, lexicon.tree, 3, slack=math.inf)
    assert faster == pytest.approx(found, abs=1e-2)
    assert max(range(len(asked)), key=found.__getitem__) == 0


def _sequences(tree: Tree) -> list[tuple[int, ...]]:
    """Return all complete token sequences of a tree."""
    found: list[tuple[int, ...]] = []
    waiting: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    while waiting:
        node, tokens = waiting.pop()
        if tree.ends[node]:
            found.append(tokens)
        waiting += [(child, (*tokens, token)) for token, child in tree.children[node].items()]
    return found
