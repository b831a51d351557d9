"""Measures how much likelier the audio makes a text with a hotword in it than the text that was heard.

The decoder reads the text as heard, and beside it each change as a branch of a few tokens: the hotword and what follows
it. All are one sequence in which a branch sees the text before it and itself, so that the text is computed once. Later
tokens depend little on the change and are not compared.
"""

import math
from collections.abc import Sequence
from itertools import chain

import torch

from golem_chain.workers.stages.scribe.vocabulary.hotwords import Candidate, Support
from golem_chain.workers.stages.scribe.whisper.decoder import Cross, attend, split
from golem_chain.workers.stages.transformers_types import Model
from golem_chain.workers.store.packed.dense import embed, project

#: Tokens after the change that are compared: 2, 4 and 6 decided alike, none accepted more that was not said.
FOLLOWING = 1
#: Rows of logits at once: those of one take 200 KB.
_ROWS = 32
#: A token and the place in the sequence whose hidden state predicts it.
_Step = tuple[int, int]


class Rescorer:
    """Compares texts of one window at a time, with one loaded model."""

    def __init__(self, model: Model, end: int) -> None:
        """`end`: the <|endoftext|> token."""
        self._body = model.model.decoder
        self._out = model.proj_out
        self._end = end

    @torch.inference_mode()
    def supports(
        self, cross: Cross, prompt: Sequence[int], tokens: Sequence[int], found: Sequence[Candidate]
    ) -> list[Support]:
        """What the audio says of each candidate; a gain of -inf for one that the decoder's context cannot hold.

        `cross`: keys and values of the window, (1, heads, frames, head width); `prompt`: all tokens before the text;
        `tokens`: the text as heard.
        """
        most = int(self._body.embed_positions.weight.shape[0])
        heard = [*prompt, *tokens, self._end][:most]
        branches: list[tuple[int, list[int]]] = []
        mine: list[list[_Step]] = []
        theirs: list[list[_Step]] = []
        at = len(heard)
        for one in found:
            start, end = len(prompt) + one.start, len(prompt) + one.end + FOLLOWING
            branch = [*one.hotword.tokens, *heard[end - FOLLOWING : end]]
            theirs.append([(heard[place], place - 1) for place in range(start, min(end, len(heard)))])
            if start + len(branch) > most:
                mine.append([])
                continue
            branches.append((start, branch))
            mine.append(list(zip(branch, (start - 1, *range(at, at + len(branch) - 1)), strict=True)))
            at += len(branch)
        logprobs = self._logprobs(self._hidden(cross, heard, branches), {*chain(*mine, *theirs)})
        measured = []
        for one, own, other in zip(found, mine, theirs, strict=True):
            heard_as = [logprobs[step] for step in other]
            gain = sum(logprobs[step] for step in own) - sum(heard_as) if own else -math.inf
            measured.append(Support(gain, sum(heard_as[: one.end - one.start])))
        return measured

    def _hidden(self, cross: Cross, heard: Sequence[int], branches: Sequence[tuple[int, list[int]]]) -> torch.Tensor:
        """The last hidden states of the text and then of its branches, (tokens, width). A branch has the position at
        which it leaves the text, and its tokens."""
        fed, positions = list(heard), list(range(len(heard)))
        total = len(heard) + sum(len(branch) for _, branch in branches)
        seen = torch.ones(total, total, dtype=torch.bool).tril()
        for start, branch in branches:
            first, end = len(fed), len(fed) + len(branch)
            seen[first:end, start:first] = False
            fed += branch
            positions += range(start, start + len(branch))
        device = self._body.embed_positions.weight.device
        mask, places = seen.to(device), torch.tensor(positions, device=device)
        hidden = embed(self._body.embed_tokens, torch.tensor([fed], device=device))
        hidden = hidden + self._body.embed_positions.weight[places]
        for layer, (keys, values) in zip(self._body.layers, cross, strict=True):
            own = layer.self_attn
            normed = layer.self_attn_layer_norm(hidden)
            past = split(own.k_proj(normed), own.num_heads), split(own.v_proj(normed), own.num_heads)
            hidden = hidden + attend(own, normed, *past, mask)
            hidden = hidden + attend(layer.encoder_attn, layer.encoder_attn_layer_norm(hidden), keys, values)
            hidden = hidden + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden))))
        found: torch.Tensor = self._body.layer_norm(hidden)[0]
        return found

    def _logprobs(self, hidden: torch.Tensor, steps: set[_Step]) -> dict[_Step, float]:
        """The log-probability of each token where it is predicted."""
        tokens: dict[int, list[int]] = {}
        for token, place in sorted(steps):
            tokens.setdefault(place, []).append(token)
        found: dict[_Step, float] = {}
        places = list(tokens)
        for at in range(0, len(places), _ROWS):
            some = places[at : at + _ROWS]
            logits = project(self._out, hidden[torch.tensor(some, device=hidden.device)]).float()
            top = logits.amax(-1, keepdim=True)
            pairs = [(token, place, row) for row, place in enumerate(some) for token in tokens[place]]
            index = torch.tensor([[row for *_, row in pairs], [token for token, *_ in pairs]], device=hidden.device)
            chosen = logits[index[0], index[1]]
            norms = (logits - top).exp_().sum(-1).log() + top[:, 0]
            for (token, place, _), logprob in zip(pairs, (chosen - norms[index[0]]).tolist(), strict=True):
                found[token, place] = logprob
        return found
