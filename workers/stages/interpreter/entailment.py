"""Intents by natural language inference: does the text entail the hypothesis built from a label?

The method is that of Yin, Hay and Roth, "Benchmarking Zero-shot Text Classification" (EMNLP 2019). For labels with one
phrasing the scores equal those of transformers' `zero-shot-classification` pipeline.
"""

import inspect
import math
from collections.abc import Sequence

import torch

from golem_chain.workers.stages.tokenizer import by_length, cut_to
from golem_chain.workers.stages.transformers_types import Model, ModelConfig, Tokenizer

Logits = tuple[float, float]  # of entailment and of contradiction


class EntailmentScorer:
    """Pairs of premise and hypothesis → logits, with a loaded sequence classification model."""

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer, context: int, most_tokens: int) -> None:
        names = {str(name).lower(): int(index) for name, index in config.label2id.items()}
        self.entailment = next(index for name, index in names.items() if name.startswith("entail"))
        # Found by name. Without such a name, as transformers does: the first label, or the last if the first is
        # entailment.
        named = next((index for name, index in names.items() if name.startswith(("contra", "not_entail"))), None)
        self.contradiction = named if named is not None else (0 if self.entailment else len(names) - 1)
        self.tokenizer, self.context, self.most_tokens = tokenizer, context, most_tokens

    def score(self, model: Model, pairs: Sequence[tuple[str, str]]) -> list[Logits]:
        """Logits for each pair, in order. Equal pairs are computed once; a premise that is too long is truncated."""
        places = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
        cut = {text: cut_to(text, self.context, self.tokenizer) for text, _ in places}
        # A hypothesis may take at most half of the context, so that part of the premise always remains.
        short = {text: cut_to(text, self.context // 2, self.tokenizer) for _, text in places}
        encoded = self.tokenizer(
            [cut[premise] for premise, _ in places],
            [short[hypothesis] for _, hypothesis in places],
            truncation="only_first",
            max_length=self.context,
        )
        columns = [name for name in self.tokenizer.model_input_names if name in encoded]
        rows = [{name: encoded[name][place] for name in columns} for place in range(len(places))]
        # An encoder-decoder would cache keys and values for tokens that are never generated.
        extra = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
        found: list[Logits] = [(math.nan, math.nan)] * len(rows)
        for batch in by_length([len(row["input_ids"]) for row in rows], self.most_tokens):
            inputs = self.tokenizer.pad([rows[place] for place in batch], padding=True, return_tensors="pt")
            with torch.inference_mode():
                logits = model(**inputs.to(model.device), **extra).logits
                logits = logits[:, [self.entailment, self.contradiction]].float()
            for place, (entails, contradicts) in zip(batch, logits.tolist(), strict=True):
                found[place] = (entails, contradicts)
        return [found[places[pair]] for pair in pairs]


def scores(labels: Sequence[Sequence[Logits]], multi_label: bool, temperature: float = 1.0) -> list[float]:
    """The score of each label from the logits of its phrasings. Pure.

    By default the softmax over labels of the entailment logit, divided by the temperature. With `multi_label` or a
    single label: the probability of entailment against contradiction. A label's phrasings count as equally likely and
    their probabilities are averaged: in the softmax a phrasing weighs exp(logit) / (number of phrasings of its label).
    So more phrasings give no advantage, and one that fits well counts more than three that half fit.
    """
    if multi_label or len(labels) == 1:
        return [sum(_sigmoid(entails - contra) for entails, contra in label) / len(label) for label in labels]
    return softmax([logit / temperature for logit in joined(labels)])


def joined(labels: Sequence[Sequence[Logits]]) -> list[float]:
    """The entailment logit of each label, combined over its phrasings. Pure."""
    return [_logmeanexp([entails for entails, _ in label]) for label in labels]


def belief(phrasings: Sequence[Logits]) -> float:
    """The belief in a label, independent of the others: the probability of entailment against contradiction of its best
    phrasing. Below 0.5 every phrasing is contradicted rather than entailed. Pure."""
    return max(_sigmoid(entails - contra) for entails, contra in phrasings)


def softmax(logits: Sequence[float]) -> list[float]:
    """Softmax in double precision."""
    top = max(logits)
    weights = [math.exp(value - top) for value in logits]
    total = sum(weights)
    return [weight / total for weight in weights]


def _logmeanexp(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values) / len(values))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
