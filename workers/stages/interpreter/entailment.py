"""Intents by natural language inference: does what was said entail the hypothesis that a label is about?

The method is that of Yin, Hay and Roth, "Benchmarking Zero-shot Text Classification" (EMNLP 2019), with the scores of
transformers' `zero-shot-classification` pipeline where a label has one phrasing.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch

from golem_chain.workers.stages.tokenizer import by_length, cut_to

Logits = tuple[float, float]  # of entailment and of contradiction


class EntailmentScorer:
    """Pairs of premise and hypothesis → logits, on a loaded sequence classification model."""

    def __init__(self, config: Any, tokenizer: Any, context: int, most_tokens: int) -> None:
        names = {str(name).lower(): int(index) for name, index in config.label2id.items()}
        self.entailment = next(index for name, index in names.items() if name.startswith("entail"))
        # By its name; where nothing is called so, as transformers does: the first, or the last if that is entailment.
        named = next((index for name, index in names.items() if name.startswith(("contra", "not_entail"))), None)
        self.contradiction = named if named is not None else (0 if self.entailment else len(names) - 1)
        self.tokenizer, self.context, self.most_tokens = tokenizer, context, most_tokens

    def score(self, model: Any, pairs: Sequence[tuple[str, str]]) -> list[Logits]:
        """Logits for each pair, in order. Equal pairs are computed once; the premise gives way where it is long."""
        places = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
        cut = {text: cut_to(text, self.context, self.tokenizer) for text, _ in places}
        # A hypothesis may take half of the context at most, so that something of the premise is always left.
        short = {text: cut_to(text, self.context // 2, self.tokenizer) for _, text in places}
        encoded = self.tokenizer(
            [cut[premise] for premise, _ in places],
            [short[hypothesis] for _, hypothesis in places],
            truncation="only_first",
            max_length=self.context,
        )
        columns = [name for name in self.tokenizer.model_input_names if name in encoded]
        rows = [{name: encoded[name][place] for name in columns} for place in range(len(places))]
        # An encoder-decoder would keep keys and values for tokens that never come.
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

    Of several labels, one true: softmax over labels of the entailment logit. With `multi_label`, or a single label:
    entailment against contradiction. A label's phrasings are taken as equally likely ways to put it, and their
    probabilities are averaged: in the softmax a phrasing weighs exp(logit) / (phrasings of its label), so that a
    label gains nothing by having more of them, and one phrasing that fits is worth more than three that half fit.
    A temperature that was fitted divides the logits of the softmax.
    """
    if multi_label or len(labels) == 1:
        return [sum(_sigmoid(entails - contra) for entails, contra in label) / len(label) for label in labels]
    return softmax([logit / temperature for logit in joined(labels)])


def joined(labels: Sequence[Sequence[Logits]]) -> list[float]:
    """The entailment logit of each label, its phrasings joined. Pure."""
    return [_logmeanexp([entails for entails, _ in label]) for label in labels]


def belief(phrasings: Sequence[Logits]) -> float:
    """How far a label is believed by itself, whatever the others: entailment against contradiction of the phrasing
    that fits best. Below 0.5 every way to put it is contradicted rather than entailed. Pure."""
    return max(_sigmoid(entails - contra) for entails, contra in phrasings)


def softmax(logits: Sequence[float]) -> list[float]:
    """Probabilities in double precision."""
    top = max(logits)
    weights = [math.exp(value - top) for value in logits]
    total = sum(weights)
    return [weight / total for weight in weights]


def _logmeanexp(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values) / len(values))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
