"""The Interpreter: chooses one of the job's labels for a text, by entailment or by sentence embeddings.

The checkpoint's config determines the method: a sequence classifier with an entailment label, or a sentence encoder.
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
from golem_chain.workers.stages.finite import not_finite
from golem_chain.workers.stages.interpreter import embeddings, entailment, names
from golem_chain.workers.stages.lru import Lru
from golem_chain.workers.stages.tokenizer import context_of, harmless, load_tokenizer
from golem_chain.workers.stages.transformers_types import Model, ModelConfig, Tokenizer

if TYPE_CHECKING:
    from golem_chain.workers.store.load import Weights

Method = Literal["entailment", "cosine"]

#: Longest text whose scores are cached, characters.
LONGEST_KEPT = 2000
#: What a pair costs besides its text, in characters: the hypothesis, and what a short text costs at least.
_PAIR_COST = 100
#: Vectors of labels that are cached: 1.5 kB each for a width of 384. Another cache holds as many, put together by set.
_KEPT_VECTORS = 10_000
#: Decimal places of a score on the wire.
DECIMALS = 6


@dataclass(frozen=True)
class Utterance:
    """A transcript with the candidate labels."""

    text: str
    language: str | None  # ISO 639-1, of the text: English if it was translated
    labels: LabelSet
    shares: Mapping[str, float] | None = None  # posterior by label, if the Scribe chose a phrasing


@dataclass(frozen=True)
class LabelEvidence:
    """The raw values behind the intent of one text."""

    scores: list[float]  # cosine or entailment logit by label, before the softmax with temperature
    nearness: float  # cosine or belief of the likeliest label, which is compared with the threshold of `unknown`


def method_of(config: ModelConfig) -> Method:
    """The method that a checkpoint's config implies. Raises ModelCorrupt if it supports neither."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    kinds = tuple(config.architectures or ())
    if any(kind.endswith("ForSequenceClassification") for kind in kinds):
        if any(str(name).lower().startswith("entail") for name in config.label2id):
            return "entailment"
        raise ModelCorrupt(
            f"The interpreter's checkpoint classifies {', '.join(map(str, config.label2id))[:100]} and has no "
            "entailment label: choose one trained on MNLI, such as valhalla/distilbart-mnli-12-3."
        )
    encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.is_encoder_decoder
    if encoder and any(kind.endswith("Model") for kind in kinds):
        return "cosine"
    raise ModelCorrupt(
        f"The interpreter's checkpoint ({', '.join(kinds) or config.model_type}) is neither an NLI classifier nor a "
        "sentence encoder: set GOLEM_INTERPRETER_MODEL to either kind."
    )


def make(config: ModelConfig) -> Any:
    """Build the model without weights, for the store to fill. Raises ModelCorrupt."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if method_of(config) == "entailment" else AutoModel
    return kind.from_config(config)


class Interpreter:
    """`Utterance` → `Intent`. An unload drops the weights but keeps the tokenizer, label vectors and cached scores."""

    name = "interpreter"

    def __init__(self, weights: "Weights", settings: Settings) -> None:
        self.weights, self.settings = weights, settings
        self.model: Model = None
        self.method = method_of(weights.config)
        try:
            self.template = check_template(settings.template)
        except BadLabels as exc:
            raise BadSetting(f"GOLEM_TEMPLATE: {exc.message}") from None
        self._answers: Lru[tuple[str, LabelSet, bool], Intent] = Lru(settings.interpreter_cache)
        self._label_sets: Lru[tuple[tuple[Label, ...], bool], embeddings.LabelVectors] = Lru(_KEPT_VECTORS)
        self._tokenizer: Tokenizer = None
        self._scorer: Any = None

    @property
    def weights_bytes(self) -> int:
        return int(self.weights.nbytes)

    def working_bytes(self, batch: int) -> int:
        """Activations of one sub-batch, which is bounded in tokens whatever the batch size: float32 rows of the model's
        and the feed-forward width for each token, with room for attention weights."""
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

    def cost(self, request: Utterance) -> float:
        """Characters that the model reads: the text once (cosine, where the vectors of phrasings are kept), or once
        with every phrasing (entailment). A longer text than LONGEST_KEPT is cut to the model's context anyway. 1 if the
        Scribe chose a phrasing."""
        if request.shares:
            return 1.0
        pairs = sum(len(self._tested_phrasings(label)) for label in request.labels.labels)
        text = min(len(request.text), LONGEST_KEPT) + _PAIR_COST
        return float(text * (max(pairs, 1) if self.method == "entailment" else 1))

    def prepare(self, request: Utterance) -> Intent | Ready[Utterance]:
        """An Intent for a text without words (`noise`), a phrasing that the Scribe chose, or a cached text; otherwise
        a Ready. Raises BadLabels."""
        if not any(letter.isalnum() for letter in request.text):
            return Intent(label="noise", score=1.0, method="silence")
        labels = in_language(request.labels, request.language)
        if request.shares:
            # not the label of the chosen phrasing: several of another one may have more together
            ranked = sorted(request.shares.items(), key=lambda entry: -entry[1])
            return Intent(label=ranked[0][0], score=ranked[0][1], scores=dict(ranked), method="vocabulary")
        known = self._answers.get((request.text, labels, names.in_english(request.text, request.language)))
        return known or Ready(Utterance(request.text, request.language, check_labels(labels)))

    def run(self, batch: Sequence[Utterance]) -> list[Intent | GolemError]:
        """An Intent for each Utterance, or a ModelCorrupt if its scores are not finite."""
        assert self.model is not None, "the interpreter ran while it was not loaded"
        if not batch:
            return []
        answers = self._by_entailment(batch) if self.method == "entailment" else self._by_cosine(batch)
        for request, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Intent) and len(request.text) <= LONGEST_KEPT:
                key = (request.text, request.labels, names.in_english(request.text, request.language))
                self._answers.put(key, answer, len(answer.scores) + len(request.text) // 20 + 1)
        return list(answers)

    def evidence(self, requests: Sequence[Utterance]) -> list[LabelEvidence]:
        """The raw values behind intents, for evaluation and fitting. The model must be loaded."""
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
        """Logits by text, label and phrasing. The whole batch is scored as one list of pairs."""
        if self._scorer is None:
            config, tokenizer = self.weights.config, self.tokenizer
            context = context_of(config, tokenizer)
            self._scorer = entailment.EntailmentScorer(config, tokenizer, context, self.settings.interpreter_tokens)
        pairs = [
            (harmless(request.text, self.tokenizer), harmless(template.replace("{}", phrase), self.tokenizer))
            for request in requests
            for template in [request.labels.template or self.template]
            for label in request.labels.labels
            for phrase in self._tested_phrasings(label)
        ]
        logits = iter(self._scorer.score(self.model, pairs))
        return [
            [[next(logits) for _ in self._tested_phrasings(label)] for label in request.labels.labels]
            for request in requests
        ]

    def _by_entailment(self, requests: Sequence[Utterance]) -> list[Intent | GolemError]:
        found: list[Intent | GolemError] = []
        for request, grouped in zip(requests, self._logits(requests), strict=True):
            if not all(math.isfinite(value) for label in grouped for pair in label for value in pair):
                found.append(not_finite(self.weights, "scores"))
                continue
            fitted = request.labels.entailment
            scores = entailment.scores(grouped, request.labels.multi_label, fitted.temperature or 1.0)
            belief = entailment.belief(grouped[scores.index(max(scores))])
            threshold = self.settings.unknown_score if fitted.unknown is None else fitted.unknown
            unknown = 1 - belief if belief < threshold else None
            found.append(_intent(request, scores, "entailment", unknown))
        return found

    def _tested_phrasings(self, label: Label) -> tuple[str, ...]:
        """The phrasings to test with an NLI model, one forward pass each."""
        return phrasings(label)[: self.settings.interpreter_phrasings or None]

    def _cosines(self, requests: Sequence[Utterance]) -> list[list[float]]:
        """Cosines by text and label."""
        if self._scorer is None:
            context = context_of(self.weights.config, self.tokenizer)
            self._scorer = embeddings.SentenceEncoder(
                self.weights.folder, self.tokenizer, context, self.settings.interpreter_tokens, keep=_KEPT_VECTORS
            )
        texts = self._scorer.encode(self.model, [harmless(request.text, self.tokenizer) for request in requests])
        return [self._label_vectors(request).cosines(text) for text, request in zip(texts, requests, strict=True)]

    def _label_vectors(self, request: Utterance) -> embeddings.LabelVectors:
        """The vectors of the request's labels, from the cache if possible."""
        labels, english = request.labels.labels, names.in_english(request.text, request.language)
        known = self._label_sets.get((labels, english))
        if known is None:
            found = [
                (tuple(harmless(text, self.tokenizer) for text in said.texts), said.named)
                for said in names.wordings(labels, english, self._is_word)
            ]
            vectors = self._scorer.phrasing_vectors(self.model, [text for texts, _ in found for text in texts])
            known = embeddings.label_vectors(
                [torch.stack([vectors[text] for text in texts]) for texts, _ in found],
                [named for _, named in found],
                names.offset(len(labels)),
            )
            self._label_sets.put((labels, english), known, len(known.rows))
        return known

    def _is_word(self, word: str) -> bool:
        """Whether the tokenizer has a token for the whole word."""
        return len(self.tokenizer.tokenize(word)) == 1

    def _by_cosine(self, requests: Sequence[Utterance]) -> list[Intent | GolemError]:
        settings, found = self.settings, list[Intent | GolemError]()
        for request, cosines in zip(requests, self._cosines(requests), strict=True):
            if not all(map(math.isfinite, cosines)):
                found.append(not_finite(self.weights, "scores"))
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
        """Loaded on first use and kept, since it has no weights."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.weights.folder)
        return self._tokenizer


def _intent(request: Utterance, scores: Sequence[float], method: Method, unknown: float | None) -> Intent:
    """Build the record: rounded scores, highest first, ties in the order of the set. `unknown` is the score of that
    answer if no label is close enough, otherwise None."""
    ranked = sorted(
        zip((label.name for label in request.labels.labels), scores, strict=True), key=lambda entry: -entry[1]
    )
    rounded = {name: round(score, DECIMALS) for name, score in ranked}
    label, score = next(iter(rounded.items())) if unknown is None else ("unknown", round(unknown, DECIMALS))
    return Intent(label=label, score=score, scores=rounded, method=method)
