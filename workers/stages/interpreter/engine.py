"""The Interpreter: what a text asks for, out of the labels of its job, by entailment or by sentence embeddings.

The checkpoint's config says which: a sequence classification head with an entailment label, or a sentence encoder.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from golem_chain.shared.errors import BadLabels, BadSetting, GolemError, ModelCorrupt
from golem_chain.shared.labels import check_labels, check_template, in_language, phrasings
from golem_chain.shared.records import Intent, Label, LabelSet
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.interpreter import embeddings, entailment
from golem_chain.workers.stages.lru import Lru
from golem_chain.workers.stages.tokenizer import context_of, harmless, load_tokenizer

if TYPE_CHECKING:
    from golem_chain.workers.store.load import Weights

Method = Literal["entailment", "cosine"]

#: Longer texts are not kept with their scores, characters.
LONGEST_KEPT = 2000
#: Decimals of a score on the wire.
DECIMALS = 6


@dataclass(frozen=True)
class Utterance:
    """What was said, and what it may mean."""

    text: str
    language: str | None  # ISO 639-1, of the text: English where it was translated
    labels: LabelSet
    shares: Mapping[str, float] | None = None  # of labels, the likeliest first, where the Scribe chose a phrasing


@dataclass(frozen=True)
class LabelEvidence:
    """What one text's intent is decided by."""

    scores: list[float]  # by label: cosine or entailment logit, which become scores by a softmax at the temperature
    nearness: (
        float  # of the likeliest label, alone: its cosine or its belief; what the threshold of `unknown` is put to
    )


def method_of(config: Any) -> Method:
    """How a checkpoint tells intents, from its config. Raises ModelCorrupt where it cannot."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    kinds = tuple(config.architectures or ())
    if any(kind.endswith("ForSequenceClassification") for kind in kinds):
        if any(str(name).lower().startswith("entail") for name in config.label2id):
            return "entailment"
        raise ModelCorrupt(
            f"The interpreter's checkpoint is a classifier of {', '.join(map(str, config.label2id))[:100]} without an "
            "entailment label: choose one trained on MNLI, as valhalla/distilbart-mnli-12-3."
        )
    encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.is_encoder_decoder
    if encoder and any(kind.endswith("Model") for kind in kinds):
        return "cosine"
    raise ModelCorrupt(
        f"The interpreter's checkpoint ({', '.join(kinds) or config.model_type}) is neither an NLI classifier nor a "
        "sentence encoder: set GOLEM_INTERPRETER_MODEL to one of these."
    )


def make(config: Any) -> Any:
    """The model of a config, without its weights: the skeleton that the store fills."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if method_of(config) == "entailment" else AutoModel
    return kind.from_config(config)


class Interpreter:
    """`Utterance` → `Intent`. What survives an unload is the tokenizer, label vectors and scores, never weights."""

    name = "interpreter"

    def __init__(self, weights: "Weights", settings: Settings) -> None:
        self.weights, self.settings = weights, settings
        self.model: Any = None
        self.method = method_of(weights.config)
        try:
            self.template = check_template(settings.template)
        except BadLabels as exc:
            raise BadSetting(f"GOLEM_TEMPLATE: {exc.message}") from None
        self._answers: Lru[tuple[str, LabelSet], Intent] = Lru(settings.interpreter_cache)
        self._tokenizer: Any = None
        self._scorer: Any = None

    @property
    def weights_bytes(self) -> int:
        return int(self.weights.nbytes)

    def working_bytes(self, batch: int) -> int:
        """Activations of one sub-batch (they are bounded by tokens, whatever the batch): some rows of the width and
        one of the feed-forward width for each token, in float32, and the attention weights where they are formed."""
        config = self.weights.config
        width = int(getattr(config, "d_model", None) or config.hidden_size)
        inner = int(getattr(config, "encoder_ffn_dim", None) or getattr(config, "intermediate_size", None) or 4 * width)
        tokens = max(self.settings.interpreter_tokens, 1024) if batch else 0
        return tokens * (12 * width + 2 * inner) * 4

    def load(self) -> None:
        self.model = self.weights.load()

    def unload(self) -> None:
        self.model = None
        self.weights.unload()

    def prefetch(self) -> None:
        self.weights.prefetch()

    def prepare(self, request: Utterance) -> Intent | Ready[Utterance]:
        """An Intent for a text without words (`noise`), a phrasing that the Scribe chose or a text seen before; else
        a Ready. Raises BadLabels."""
        if not any(letter.isalnum() for letter in request.text):
            return Intent(label="noise", score=1.0, method="silence")
        labels = in_language(request.labels, request.language)
        if request.shares:
            label, score = next(iter(request.shares.items()))
            return Intent(label=label, score=score, scores=dict(request.shares), method="vocabulary")
        known = self._answers.get((request.text, labels))
        return known or Ready(Utterance(request.text, request.language, check_labels(labels)))

    def run(self, batch: Sequence[Utterance]) -> list[Intent | GolemError]:
        """An Intent for each Utterance; ModelCorrupt in the place of one whose scores are not numbers."""
        assert self.model is not None, "the interpreter was asked while it was not loaded"
        if not batch:
            return []
        answers = self._by_entailment(batch) if self.method == "entailment" else self._by_cosine(batch)
        for request, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Intent) and len(request.text) <= LONGEST_KEPT:
                self._answers.put(
                    (request.text, request.labels), answer, len(answer.scores) + len(request.text) // 20 + 1
                )
        return list(answers)

    def evidence(self, requests: Sequence[Utterance]) -> list[LabelEvidence]:
        """What intents are decided by, for measuring and fitting. The model is loaded."""
        requests = [
            replace(request, labels=in_language(check_labels(request.labels), request.language)) for request in requests
        ]
        if self.method == "cosine":
            return [LabelEvidence(cosines, max(cosines)) for cosines in self._cosines(requests)]
        found = []
        for grouped in self._logits(requests):
            logits = entailment.joined(grouped)
            found.append(LabelEvidence(logits, entailment.belief(grouped[logits.index(max(logits))])))
        return found

    def _logits(self, requests: Sequence[Utterance]) -> list[list[list[entailment.Logits]]]:
        """By text, label and phrasing: all of the batch as one list of pairs."""
        if self._scorer is None:
            config, tokenizer = self.weights.config, self.tokenizer
            context = context_of(config, tokenizer)
            self._scorer = entailment.EntailmentScorer(config, tokenizer, context, self.settings.interpreter_tokens)
        pairs = [
            (harmless(request.text, self.tokenizer), harmless(template.replace("{}", phrase), self.tokenizer))
            for request in requests
            for template in [request.labels.template or self.template]
            for label in request.labels.labels
            for phrase in self._asked(label)
        ]
        logits = iter(self._scorer.score(self.model, pairs))
        return [[[next(logits) for _ in self._asked(label)] for label in request.labels.labels] for request in requests]

    def _by_entailment(self, requests: Sequence[Utterance]) -> list[Intent | GolemError]:
        found: list[Intent | GolemError] = []
        for request, grouped in zip(requests, self._logits(requests), strict=True):
            if not all(math.isfinite(value) for label in grouped for pair in label for value in pair):
                found.append(_not_numbers(self.weights.folder))
                continue
            fitted = request.labels.entailment
            scores = entailment.scores(grouped, request.labels.multi_label, fitted.temperature or 1.0)
            belief = entailment.belief(grouped[scores.index(max(scores))])
            threshold = self.settings.unknown_score if fitted.unknown is None else fitted.unknown
            unknown = 1 - belief if belief < threshold else None
            found.append(_intent(request, scores, "entailment", unknown))
        return found

    def _asked(self, label: Label) -> tuple[str, ...]:
        """The phrasings that an NLI model is asked about: each is a pass of the whole model."""
        return phrasings(label)[: self.settings.interpreter_phrasings or None]

    def _cosines(self, requests: Sequence[Utterance]) -> list[list[float]]:
        """By text and label."""
        if self._scorer is None:
            context = context_of(self.weights.config, self.tokenizer)
            self._scorer = embeddings.SentenceEncoder(
                self.weights.folder, self.tokenizer, context, self.settings.interpreter_tokens, keep=10_000
            )
        words = [[[harmless(phrase, self.tokenizer) for phrase in phrasings(label)] for label in request.labels.labels]
                 for request in requests]  # fmt: skip
        vectors = self._scorer.phrasing_vectors(
            self.model, [phrase for request in words for la in request for phrase in la]
        )
        texts = self._scorer.encode(self.model, [harmless(request.text, self.tokenizer) for request in requests])
        return [
            embeddings.label_cosines(text, [torch.stack([vectors[phrase] for phrase in label]) for label in labels])
            for text, labels in zip(texts, words, strict=True)
        ]

    def _by_cosine(self, requests: Sequence[Utterance]) -> list[Intent | GolemError]:
        settings, found = self.settings, list[Intent | GolemError]()
        for request, cosines in zip(requests, self._cosines(requests), strict=True):
            if not all(map(math.isfinite, cosines)):
                found.append(_not_numbers(self.weights.folder))
                continue
            fitted = request.labels.cosine
            temperature = fitted.temperature or settings.temperature
            threshold = settings.unknown_cosine if fitted.unknown is None else fitted.unknown
            scores = embeddings.scores(cosines, temperature, threshold, request.labels.multi_label)
            low = max(cosines) < threshold
            unknown = embeddings.unknown_score(cosines, temperature, threshold) if low else None
            found.append(_intent(request, scores, "cosine", unknown))
        return found

    @property
    def tokenizer(self) -> Any:
        """Loaded at the first need and kept: it holds no weights."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.weights.folder)
        return self._tokenizer


def _intent(request: Utterance, scores: Sequence[float], method: Method, unknown: float | None) -> Intent:
    """The record: scores rounded, the highest first, labels of equal scores in the order of the set. `unknown` is
    the score of that answer where no label is near enough."""
    ranked = sorted(
        zip((label.name for label in request.labels.labels), scores, strict=True), key=lambda entry: -entry[1]
    )
    rounded = {name: round(score, DECIMALS) for name, score in ranked}
    label, score = next(iter(rounded.items())) if unknown is None else ("unknown", round(unknown, DECIMALS))
    return Intent(label=label, score=score, scores=rounded, method=method)


def _not_numbers(folder: object) -> ModelCorrupt:
    return ModelCorrupt(f"The weights in {folder} give scores that are not numbers: run `golem models verify`.")
