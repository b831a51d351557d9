"""Intents by sentence embeddings: the cosine of a text to the phrasings or the name of each label.

Mean pooling over the tokens and normalisation, as published for sentence-transformers/all-MiniLM-L6-v2 (Reimers and
Gurevych, "Sentence-BERT", EMNLP 2019).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from golem_chain.workers.stages.interpreter.entailment import softmax
from golem_chain.workers.stages.lru import Lru
from golem_chain.workers.stages.tokenizer import by_length, cut_to
from golem_chain.workers.stages.transformers_types import Model, Tokenizer


class SentenceEncoder:
    """Texts → unit vectors (n, width), float32 on the CPU, with a loaded encoder. Caches the vectors of phrasings."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, context: int, most_tokens: int, keep: int) -> None:
        self.tokenizer, self.context, self.most_tokens = tokenizer, context, most_tokens
        self.first_token = pools_first_token(folder)
        self.kept: Lru[str, torch.Tensor] = Lru(keep)  # one vector each: 1.5 kB for a width of 384

    def encode(self, model: Model, texts: Sequence[str]) -> torch.Tensor:
        """One vector for each text, in order; equal texts are computed once."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        encoded = self.tokenizer(
            [cut_to(text, self.context, self.tokenizer) for text in places], truncation=True, max_length=self.context
        )
        columns = [name for name in self.tokenizer.model_input_names if name in encoded]
        rows = [{name: encoded[name][place] for name in columns} for place in range(len(places))]
        found: list[torch.Tensor] = [torch.empty(0)] * len(rows)
        for batch in by_length([len(row["input_ids"]) for row in rows], self.most_tokens):
            inputs = self.tokenizer.pad([rows[place] for place in batch], padding=True, return_tensors="pt")
            with torch.inference_mode():
                states = model(**inputs.to(model.device)).last_hidden_state.float()  # (rows, tokens, width)
                vectors = states[:, 0] if self.first_token else mean_pool(states, inputs["attention_mask"])
            for place, vector in zip(batch, torch.nn.functional.normalize(vectors, dim=1).cpu(), strict=True):
                found[place] = vector.clone()  # a view would keep the whole sub-batch alive
        return torch.stack([found[places[text]] for text in texts])

    def phrasing_vectors(self, model: Model, phrases: Sequence[str]) -> dict[str, torch.Tensor]:
        """The vectors of label phrasings, from the cache if possible."""
        found = {phrase: self.kept.get(phrase) for phrase in phrases}
        if missing := [phrase for phrase, vector in found.items() if vector is None]:
            for phrase, vector in zip(missing, self.encode(model, missing), strict=True):
                found[phrase] = vector
                self.kept.put(phrase, vector.clone())
        return {phrase: vector for phrase, vector in found.items() if vector is not None}


def mean_pool(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over non-padding tokens: (rows, tokens, width), (rows, tokens) → (rows, width)."""
    kept = mask.unsqueeze(-1).to(states.dtype)
    return (states * kept).sum(1) / kept.sum(1).clamp(min=1e-9)


def pools_first_token(folder: Path) -> bool:
    """Whether the checkpoint is configured to use the first token's vector; the default is the mean."""
    try:
        return bool(json.loads((folder / "1_Pooling" / "config.json").read_text()).get("pooling_mode_cls_token"))
    except (OSError, ValueError, AttributeError):
        return False


@dataclass(frozen=True)
class LabelVectors:
    """The unit vectors of all labels of a set, float32 on the CPU."""

    rows: torch.Tensor  # (texts, width), of all labels' texts
    label: torch.Tensor  # (texts,), the index of the label of each row
    means: torch.Tensor  # (labels, width), the normalised mean of each label's rows
    named: torch.Tensor  # (labels,), whether the rows were made from a name
    offset: float  # what to add to the cosine of a name

    def cosines(self, text: torch.Tensor) -> list[float]:
        """The cosine of a text, (width,), to each label: to the mean of its phrasings. For a name, to the mean and to
        the closest of its wordings, half each, with the offset."""
        found = self.means @ text
        best = found.new_full(found.shape, -1.0).scatter_reduce(0, self.label, self.rows @ text, "amax")
        return [float(value) for value in torch.where(self.named, (found + best) / 2 + self.offset, found)]


def label_vectors(labels: Sequence[torch.Tensor], named: Sequence[bool], offset: float) -> LabelVectors:
    """Put the vectors of each label's texts, (texts, width), together. Pure."""
    means = torch.nn.functional.normalize(torch.stack([label.mean(0) for label in labels]), dim=1)
    index = torch.tensor([number for number, label in enumerate(labels) for _ in label])
    return LabelVectors(torch.cat(list(labels)), index, means, torch.tensor(named), offset)


def scores(cosines: Sequence[float], temperature: float, threshold: float, multi_label: bool) -> list[float]:
    """The score of each label. Pure.

    By default softmax(cosine / temperature) over the labels. With `multi_label` or a single label:
    logistic((cosine - threshold) / temperature), which is 0.5 at the threshold of `unknown`.
    """
    if multi_label or len(cosines) == 1:
        return [_logistic((cosine - threshold) / temperature) for cosine in cosines]
    return softmax([cosine / temperature for cosine in cosines])


def unknown_score(cosines: Sequence[float], temperature: float, threshold: float) -> float:
    """The softmax share of `unknown` among the labels, taking its cosine to be the threshold. Pure."""
    return softmax([threshold / temperature, *(cosine / temperature for cosine in cosines)])[0]


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
