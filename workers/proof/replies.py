"""The Oracle's part of a proof: its distributions over the next token, along float32's own replies (teacher forcing).

Sampled replies differ after the first token that falls otherwise, whatever its cause, so that texts say little. At each
token of the prompt and of float32's greedy reply both forms are asked for the next one, given the same tokens before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from golem_chain.shared.records import Intent, LabelSet, OracleParams, Reply
from golem_chain.workers.proof import criteria
from golem_chain.workers.proof.criteria import Compared, Judgement
from golem_chain.workers.proof.own import Set, prompts
from golem_chain.workers.stages.engine import AnyEngine, Ready
from golem_chain.workers.stages.oracle import foreign
from golem_chain.workers.stages.oracle.decoder.texts import logits_along, read_prefix
from golem_chain.workers.stages.oracle.engine import Oracle, ReplyRequest
from golem_chain.workers.stages.oracle.prompts import shared_start
from golem_chain.workers.stages.tokenizer import context_of

#: Prompts of the calibration set, and tokens of each reply.
PROMPTS = 96
REPLY_TOKENS = 24
#: Prompts that are answered together.
_TOGETHER = 8
#: Likeliest tokens whose probabilities are kept of each distribution; all others count as one event. What is kept
#: diverges by no more than the whole does (data processing inequality).
KEPT = 4096
_BATCH_TOKENS = 4


@dataclass(frozen=True)
class Along:
    """The reference's distributions along one prompt and its reply."""

    tokens: tuple[int, ...]  # of prompt and reply
    ids: torch.Tensor  # int32 (own tokens, KEPT), the likeliest first
    logs: torch.Tensor  # float32 (own tokens, KEPT), log-probabilities
    rest: torch.Tensor  # float32 (own tokens,), the probability of all others together
    chosen: int  # places at the end where the reply's tokens are chosen


class OracleTrial:
    """Prompts, a few at a time."""

    def __init__(self, material: Set) -> None:
        own = material.texts[len(material.texts) - material.own_texts :]
        ours = material.texts[: len(material.texts) - material.own_texts]
        asked = [*prompts(ours, material.labels, PROMPTS), *prompts(own, material.labels, len(own))]
        requests = [_request(place, *one) for place, one in enumerate(asked)]
        self.items = [requests[at : at + _TOGETHER] for at in range(0, len(requests), _TOGETHER)]
        self.own_items = len(own)
        self._cache: Any = None  # keys and values of the start that all prompts share, on the device
        self._start: tuple[int, ...] = ()

    def ask(self, engine: AnyEngine, item: Any, there: Any | None) -> list[Any]:
        oracle = cast(Oracle, engine)
        if there is not None:
            return [_compared(self._logits(oracle, one.tokens), one) for one in there]
        asked, along = _ready(oracle, item), []
        for prompt, reply in zip(asked, oracle.run(asked), strict=True):
            if not isinstance(reply, Reply):
                raise cast(Exception, reply)
            own = oracle.tokenizer(reply.text, add_special_tokens=False, verbose=False)["input_ids"]
            tokens = (*prompt.tokens, *own)[: context_of(oracle.weights.config, oracle.tokenizer)]
            along.append(_along(tokens, self._logits(oracle, tokens), len(tokens) - len(prompt.tokens) + 1))
        return along

    def judge(self, reference: Sequence[Along], answers: Sequence[Compared]) -> Judgement:
        tokens, chosen = sum(len(one.rest) for one in reference), sum(one.chosen for one in reference)
        return criteria.oracle(tokens, chosen, answers)

    def batch(self, engine: AnyEngine, size: int) -> Callable[[], object]:
        requests = [request for item in self.items for request in item][:size]
        short = OracleParams(max_new_tokens=_BATCH_TOKENS, temperature=0.0)
        asked = [ReplyRequest(one.text, one.intent, one.labels, short, one.seed) for one in requests]
        found = _ready(cast(Oracle, engine), asked)
        return lambda: engine.run(found)

    def let_go(self) -> None:
        self._cache = None

    @torch.inference_mode()
    def _logits(self, oracle: Oracle, tokens: tuple[int, ...]) -> torch.Tensor:
        """The logits after each token that follows the shared start, float32 (own tokens, vocabulary), on the device:
        computed as those of jobs are."""
        from transformers import DynamicCache

        model, decoder = oracle.model, oracle.decoder
        if decoder is not None:
            dtype, device = oracle.weights.dtype, model.device
            if self._cache is None:
                self._start = self._shared(oracle)
                self._cache = read_prefix(decoder, self._start, dtype, device) if self._start else ()
            return logits_along(decoder, tokens, self._cache or None, dtype, device)
        if self._cache is None:
            self._start = self._shared(oracle)
            empty = DynamicCache(config=model.config)
            self._cache = foreign.read_prefix(model, self._start) if self._start else empty
        own = torch.tensor([tokens[len(self._start) :]], device=model.device)
        found = model(input_ids=own, past_key_values=self._cache, use_cache=True).logits[0].float()
        self._cache.crop(-own.shape[1])
        return cast(torch.Tensor, found)

    def _shared(self, oracle: Oracle) -> tuple[int, ...]:
        """The tokens that every prompt starts with."""
        asked = [prompt for item in self.items[:3] for prompt in _ready(oracle, item)]
        return tuple(shared_start([prompt.tokens[:-1] for prompt in asked]))


def _request(place: int, text: str, label: str, labels: LabelSet) -> ReplyRequest:
    params = OracleParams(max_new_tokens=REPLY_TOKENS, temperature=0.0)
    return ReplyRequest(text, Intent(label=label, score=1.0, method="given"), labels, params, place)


def _ready(oracle: Oracle, requests: Sequence[ReplyRequest]) -> list[Any]:
    return [cast(Ready[Any], oracle.prepare(request)).item for request in requests]


def _along(tokens: tuple[int, ...], logits: torch.Tensor, chosen: int) -> Along:
    logs, ids = torch.log_softmax(logits, -1).topk(min(KEPT, logits.shape[-1]), -1)
    rest = (1 - logs.exp().sum(-1)).clamp(min=0)
    return Along(tokens, ids.int().cpu(), logs.cpu(), rest.cpu(), chosen)


def _compared(logits: torch.Tensor, there: Along) -> Compared:
    """The divergence KL(reference ‖ candidate), with all tokens that are not kept as one event."""
    logs = torch.log_softmax(logits, -1)
    ids = there.ids.to(logits.device).long()
    here = logs.gather(-1, ids).cpu()
    divergence = (there.logs.exp() * (there.logs - here)).sum(-1)
    left = (1 - here.exp().sum(-1)).clamp(min=1e-9)
    others = torch.where(there.rest > 0, there.rest * (there.rest.clamp(min=1e-9) / left).log(), 0.0)
    differing = (logits.argmax(-1).cpu() != there.ids[:, 0])[-there.chosen :]
    return Compared(float((divergence + others).sum()), int(differing.sum()))
