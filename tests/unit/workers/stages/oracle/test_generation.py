"""The loop: its tokens are those of transformers for every family, whoever shares a step and whenever a row joins."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from golem_chain.workers.stages.oracle import foreign
from golem_chain.workers.stages.oracle.decoder.llama import Llama
from golem_chain.workers.stages.oracle.decoder.texts import SlottedTexts, decoder_of, read_prefix
from golem_chain.workers.stages.oracle.generation import Texts, generate
from golem_chain.workers.stages.oracle.row import Row
from golem_chain.workers.stages.sampling import Rules
from golem_chain.workers.stages.tokenizer import load_tokenizer
from tests.support.text_models import gpt2

CPU, END = torch.device("cpu"), 2
SHAPE: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 96, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 6,
    "max_position_embeddings": 2048, "eos_token_id": END, "bos_token_id": 1, "pad_token_id": 0,
    "initializer_range": 0.2,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, head_dim=20, **SHAPE)),
    "llama, scaled rotations": lambda: LlamaForCausalLM(
        LlamaConfig(num_key_value_heads=2, rope_parameters=LLAMA3, **SHAPE)
    ),
    "llama, biases and tied weights": lambda: LlamaForCausalLM(
        LlamaConfig(num_key_value_heads=6, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, **SHAPE)
    ),
    "mistral": lambda: MistralForCausalLM(MistralConfig(num_key_value_heads=3, sliding_window=4096, **SHAPE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(num_key_value_heads=2, **SHAPE)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=300,
            n_positions=1024,
            n_layer=2,
            n_head=4,
            n_embd=64,
            initializer_range=0.2,
            eos_token_id=END,
            bos_token_id=1,
            scale_attn_by_inverse_layer_idx=True,
        )
    ),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(
            vocab_size=300,
            hidden_size=64,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            init_std=0.2,
            word_embed_proj_dim=64,
            max_position_embeddings=1024,
            eos_token_id=END,
            bos_token_id=1,
            pad_token_id=0,
        )
    ),
}
GREEDY = Rules(max_new_tokens=24, temperature=0, top_k=0, top_p=1.0, no_repeat_ngram_size=0)


def made(kind: str) -> Any:
    torch.manual_seed(3)
    model = FAMILIES[kind]().eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(torch.randn_like(parameter) * 0.1)  # biases and norms that do something
    return model


def texts_of(model: Any, prefix: Sequence[int], slots: int, length: int, *, own: bool = True) -> Texts:
    ends = frozenset({END})
    decoder = decoder_of(model, 2048)
    if decoder is None or not own:
        read = foreign.read_prefix(model, prefix) if prefix else None
        return foreign.ForeignTexts(model, slots, ends, prefix, read)
    read = read_prefix(decoder, prefix, torch.float32, CPU) if prefix else None
    return SlottedTexts(decoder, slots, length, ends, read, torch.float32, CPU)


def continued(
    model: Any, prompts: list[list[int]], rules: Sequence[Rules], prefix: Sequence[int] = (), slots: int = 16
) -> list[Row]:
    """The rows after generation, all waiting for so many slots."""
    start = len(prefix)
    rows = [Row(prompt[start:], rule, seed) for seed, (prompt, rule) in enumerate(zip(prompts, rules, strict=True))]
    waiting, ended = list(rows), list[Row]()

    def take(free: int) -> list[Row]:
        taken = waiting[:free]
        del waiting[:free]
        return taken

    longest = start + max(row.longest for row in rows)
    generate(texts_of(model, prefix, slots, longest), frozenset({END}), take, ended.append)
    assert sorted(map(rows.index, ended)) == list(range(len(rows))), "each row ends once"
    return rows


def theirs(model: Any, prompt: list[int], **rules: Any) -> list[int]:
    """The new tokens of transformers' greedy search, unbatched and without padding."""
    end = model.config.eos_token_id
    usual = GenerationConfig(
        do_sample=False, min_new_tokens=1, eos_token_id=end, pad_token_id=0, **{"max_new_tokens": 24} | rules
    )
    tokens = torch.tensor([prompt])
    with torch.inference_mode():
        found = model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=usual)
    new: list[int] = found[0, len(prompt) :].tolist()
    return new[:-1] if new[-1] == end else new


def some_prompts(prefix: int, lengths: Sequence[int] = (1, 3, 9, 30, 70, 2, 5, 33, 1)) -> tuple[list[int], list[Any]]:
    draw = torch.Generator().manual_seed(5)
    start = torch.randint(3, 300, (prefix,), generator=draw).tolist()
    return start, [start + torch.randint(3, 300, (length,), generator=draw).tolist() for length in lengths]


@pytest.mark.parametrize("ngram", [0, 2])
def test_greedy_tokens_are_those_of_generate_on_the_full_quest_shape(
    tmp_path_factory: pytest.TempPathFactory, ngram: int
) -> None:
    held = gpt2(tmp_path_factory.mktemp("distilgpt2"), full=True)
    tokenizer = load_tokenizer(held.folder)
    prompts = [tokenizer(text)["input_ids"] for text in ("turn on the lights", "no", "what is the weather like")]
    rules = Rules(24, 0, 0, 1.0, ngram)
    decoder = decoder_of(held.model, 1024)
    assert decoder is not None
    for row, prompt in zip(continued(held.model, prompts, [rules] * 3), prompts, strict=True):
        expected = theirs(held.model, prompt, no_repeat_ngram_size=ngram)
        assert row.new == expected[: len(row.new)]
        assert len(row.new) == len(expected) or expected[len(row.new)] == END, "this loop ends with token 2"
        assert len(set(expected)) > 1


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("prefix", [0, 7])
def test_greedy_tokens_of_rows_that_join_and_leave_are_those_of_generate(kind: str, prefix: int) -> None:
    model, (start, prompts) = made(kind), some_prompts(prefix)
    most = [24, 1, 3, 24, 7, 24, 2, 24, 11]
    expected = [theirs(model, prompt, max_new_tokens=count) for prompt, count in zip(prompts, most, strict=True)]
    rules = [Rules(count, 0, 0, 1.0, 0) for count in most]
    for slots in (1, 3, 16):
        assert [row.new for row in continued(model, prompts, rules, start, slots)] == expected
    assert len({tuple(tokens) for tokens in expected}) == len(prompts)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("prefix", [0, 7])
def test_sampled_tokens_are_those_of_the_models_own_forward_pass(kind: str, prefix: int) -> None:
    model, (start, prompts) = made(kind), some_prompts(prefix)
    rules = [
        Rules(3 + 2 * n, (0.5, 1.5, 0)[n % 3], (0, 20, 50)[(n // 2) % 3], (0.9, 1.0)[n % 2], (0, 2, 3)[n % 3])
        for n in range(len(prompts))
    ]
    rows = [Row(prompt[prefix:], rule, seed) for seed, (prompt, rule) in enumerate(zip(prompts, rules, strict=True))]
    waiting = [rows]
    generate(texts_of(model, start, 16, 200, own=False), frozenset({END}), lambda _: waiting.pop() if waiting else [])
    for slots in (1, 4, 16):
        assert [row.new for row in continued(model, prompts, rules, start, slots)] == [row.new for row in rows]


def test_architectures_that_are_not_known_here_go_on_through_transformers() -> None:
    assert decoder_of(made("opt"), 2048) is None
    sliding = MistralForCausalLM(MistralConfig(num_key_value_heads=3, sliding_window=16, **SHAPE))
    assert decoder_of(sliding, 2048) is None, "its attention slides"
    gelu = LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, hidden_act="gelu", **SHAPE))
    assert decoder_of(gelu, 2048) is None
    growing = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    dynamic = LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, rope_parameters=growing, **SHAPE))
    assert decoder_of(dynamic, 2048) is None, "its rotations depend on the length"
    assert all(decoder_of(made(kind), 2048) for kind in FAMILIES if kind != "opt")


def test_a_step_computes_the_rows_that_run_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (_, prompts) = made("llama"), some_prompts(0, [4] * 8)
    most = [1, 40, 3, 40, 7, 2, 40, 5]
    sizes, ours = list[int](), Llama.hidden

    def watched(self: Llama, ids: torch.Tensor, *given: Any) -> torch.Tensor:
        sizes.append(len(ids))
        return ours(self, ids, *given)

    monkeypatch.setattr(Llama, "hidden", watched)
    rows = continued(model, prompts, [Rules(count, 0, 0, 1.0, 0) for count in most])
    assert sizes[0] == 8 * 4, "all prompts are read at once"
    assert sizes[1:5] == [7, 6, 5, 5]
    assert sizes[1:] == sorted(sizes[1:], reverse=True)
    assert {len(row.new) for row in rows if not row.complete} <= set(most)


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_a_row_without_finite_numbers_ends_alone_and_leaves_nothing_in_its_slot(slots: int) -> None:
    model, (start, prompts) = made("llama"), some_prompts(5, (4, 9, 2, 6, 3))
    model.model.embed_tokens.weight.data[299] = math.nan
    healthy = [[token if token != 299 else 298 for token in prompt] for prompt in prompts]
    start = healthy[0][:5]
    rules = [GREEDY] * 5
    before = [row.new for row in continued(model, healthy, rules, start, slots)]
    struck = [[*prompt[:-1], 299] if n == 1 else prompt for n, prompt in enumerate(healthy)]
    rows = continued(model, struck, rules, start, slots)
    assert [row.broken for row in rows] == [False, True, False, False, False]
    assert [row.new for n, row in enumerate(rows) if n != 1] == [new for n, new in enumerate(before) if n != 1]


def test_a_text_of_the_models_whole_context_ends_at_its_last_position(tmp_path: Path) -> None:
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=300, n_positions=48, n_layer=1, n_head=2, n_embd=16, eos_token_id=END)
    ).eval()
    _, prompts = some_prompts(0, (40, 1))
    rows = continued(model, prompts, [Rules(8, 0, 0, 1.0, 0), Rules(47, 1.0, 0, 1.0, 0)])
    assert [row.complete or len(row.new) == row.rules.max_new_tokens for row in rows] == [True, True]
