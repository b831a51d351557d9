"""In half precision the likeliest tokens are told apart as in float32, by jobs and by proofs alike."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from golem_chain.workers.stages.oracle.decoder.head import EXACT, logits_of
from golem_chain.workers.stages.oracle.decoder.texts import SlottedTexts, decoder_of, logits_along, read_prefix
from golem_chain.workers.stages.oracle.row import Row
from golem_chain.workers.stages.sampling import Rules
from golem_chain.workers.store.packed.blocks import pack
from golem_chain.workers.store.packed.modules import PackedLinear

CPU, WIDTH, VOCABULARY = torch.device("cpu"), 64, 16384
HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])


def states(rows: int = 5) -> torch.Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(1))


def head(dtype: torch.dtype) -> nn.Linear:
    """Logits near 20, of which many of the best are equal in bfloat16."""
    made = nn.Linear(WIDTH, VOCABULARY, bias=False)
    made.weight.data = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(2)) * 0.6
    return made.to(dtype).requires_grad_(False)


@HALVES
def test_the_likeliest_logits_are_those_of_float32(dtype: torch.dtype) -> None:
    layer, rows = head(dtype), states(64)
    exact = rows @ layer.weight.float().t()
    found = logits_of(layer, rows, dtype)
    rounded = layer(rows.to(dtype)).float()
    best = exact.topk(EXACT // 4)
    order = rounded.gather(1, best.indices).argsort(dim=1, descending=True, stable=True)
    assert (order != torch.arange(EXACT // 4)).any(), "the type itself orders them otherwise"
    assert torch.equal(found.argmax(1), exact.argmax(1))
    torch.testing.assert_close(found.gather(1, best.indices), best.values, rtol=1e-5, atol=1e-5)


def test_a_tie_in_bfloat16_is_decided_as_in_float32() -> None:
    layer, rows = head(torch.bfloat16), torch.ones(1, WIDTH)
    layer.weight.zero_()
    layer.weight[7, :2] = torch.tensor([16.0, 0.0])
    layer.weight[9, :2] = torch.tensor([16.0, 0.03125])
    rounded = layer(rows.bfloat16()).float()
    assert rounded[0, 7] == rounded[0, 9]
    assert logits_of(layer, rows, torch.bfloat16).argmax(1).tolist() == [9]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_rows_that_are_not_finite_stay_so_and_others_stay_finite(value: float) -> None:
    rows = states()
    rows[2] = value
    found = logits_of(head(torch.bfloat16), rows, torch.bfloat16)
    assert found.max(1).values.isfinite().tolist() == [True, True, False, True, True]


def test_few_tokens_and_float32_are_multiplied_once() -> None:
    small = nn.Linear(WIDTH, 10, bias=False).requires_grad_(False)
    assert torch.equal(logits_of(small, states(), torch.float32), small(states()))
    halved = nn.Linear(WIDTH, 10, bias=False).bfloat16().requires_grad_(False)
    torch.testing.assert_close(logits_of(halved, states(), torch.bfloat16), states() @ halved.weight.float().t())


@pytest.mark.parametrize("bits", [8, 4])
def test_a_packed_head_is_exact_in_its_own_weights(bits: int) -> None:
    packed = pack(head(torch.float32).weight, bits)
    layer = PackedLinear((VOCABULARY, WIDTH), None)
    layer.hold(packed, torch.bfloat16)
    exact = states() @ packed.dense(torch.float32).t()
    assert torch.equal(logits_of(layer, states(), torch.bfloat16).argmax(1), exact.argmax(1))


def model_of(kind: str) -> Any:
    torch.manual_seed(3)
    shape: dict[str, Any] = {"vocab_size": 2000, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2}
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=WIDTH, n_positions=256, **shape)).eval()
    width = {"hidden_size": WIDTH, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
    made = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **width, **shape)).eval()
    made.model.norm.weight.data.add_(torch.randn(WIDTH) * 0.1)
    return made


@pytest.mark.parametrize("prefix", [0, 5])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_logits_along_a_text_are_those_of_the_models_own_forward_pass(kind: str, prefix: int) -> None:
    model, tokens = model_of(kind), list(range(3, 40))
    decoder = decoder_of(model, 256)
    assert decoder is not None
    start = read_prefix(decoder, tokens[:prefix], torch.float32, CPU) if prefix else None
    with torch.inference_mode():
        theirs = model(torch.tensor([tokens])).logits[0, prefix:]
    torch.testing.assert_close(logits_along(decoder, tokens, start, torch.float32, CPU), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_replies_in_bfloat16_follow_the_logits_that_a_proof_compares(kind: str, temperature: float) -> None:
    """A greedy token is the likeliest of `logits_along`, a sampled one among its likeliest."""
    model = model_of(kind).bfloat16()
    decoder = decoder_of(model, 256)
    assert decoder is not None
    prompt = tuple(range(3, 20))
    texts = SlottedTexts(decoder, 1, 64, frozenset({2}), None, torch.bfloat16, CPU)
    row = Row(prompt, Rules(12, temperature, 3, 1.0, 0), 1)
    for _ in range(12):
        ((_, token),) = texts.step() if row.new else texts.join([row])
        row.advance(token, frozenset())
    along = logits_along(decoder, [*prompt, *row.new], None, torch.bfloat16, CPU)[len(prompt) - 1 : -1]
    chosen = torch.tensor(row.new)[:, None]
    allowed = along.topk(3 if temperature else 1).values[:, -1:]
    assert (along.gather(1, chosen) >= allowed - 0.1).all()  # a step and a prompt round keys alike, sums not
