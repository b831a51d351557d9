"""The encoder in bfloat16 and with a short context: accuracy, when it is used, and what is decoded again."""

import copy

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the customary name
from transformers import WhisperConfig, WhisperForConditionalGeneration

from golem_chain.workers.stages.scribe import short_context
from golem_chain.workers.stages.scribe.whisper import encoder
from golem_chain.workers.stages.scribe.whisper.decoder import Decoder, cross_of
from golem_chain.workers.stages.scribe.whisper.encoder import encode, product_of

CPU, CARD = torch.device("cpu"), torch.device("cuda")
FLAGS = frozenset({"avx512_bf16"})


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    config = WhisperConfig(
        vocab_size=100, d_model=48, encoder_layers=2, decoder_layers=1, encoder_attention_heads=3,
        decoder_attention_heads=3, encoder_ffn_dim=96, decoder_ffn_dim=96, max_source_positions=500,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0,
    )  # fmt: skip
    made = WhisperForConditionalGeneration(config).eval()
    with torch.inference_mode():
        for parameter in made.parameters():
            parameter.normal_(std=0.15)
    return made


def reference(model, features):
    with torch.inference_mode():
        return model.model.encoder(features).last_hidden_state


def test_float32_products_are_the_encoder_of_transformers(model, monkeypatch):
    features = torch.randn(2, 80, 1000)
    monkeypatch.setattr(encoder, "is_quick", lambda: False)
    assert torch.equal(encode(model, features, torch.float32), reference(model, features))


def test_float32_products_by_another_library_differ_in_the_last_bits_only(model, monkeypatch):
    features = torch.randn(2, 80, 1000)
    monkeypatch.setattr(encoder, "is_quick", lambda: True)
    assert torch.allclose(encode(model, features, torch.float32), reference(model, features), atol=1e-4)


def test_queries_keys_and_the_projection_behind_the_attention_stay_exact_beside_bfloat16_products(model, monkeypatch):
    kinds: dict[torch.dtype, set[str]] = {}
    whole = encoder._linear
    names = {id(module): name.rpartition(".")[2] for name, module in model.model.encoder.named_modules()}

    def watched(part, product):
        kinds.setdefault(product, set()).add(names[id(part)])
        return whole(part, product)

    monkeypatch.setattr(encoder, "_linear", watched)
    encode(model, torch.randn(1, 80, 1000), torch.bfloat16)
    assert kinds == {torch.float32: {"q_proj", "k_proj", "out_proj"}, torch.bfloat16: {"v_proj", "fc1", "fc2"}}


def test_bfloat16_products_come_within_their_rounding_of_float32(model):
    features = torch.randn(3, 80, 1000)
    exact, near = reference(model, features), encode(model, features, torch.bfloat16)
    assert near.dtype == torch.float32
    assert float((near - exact).abs().mean()) < 0.02 * float(exact.abs().mean())


def test_each_window_is_encoded_as_if_it_were_alone(model):
    features = torch.randn(3, 80, 1000)
    together = encode(model, features, torch.bfloat16)
    alone = torch.cat([encode(model, one[None], torch.bfloat16) for one in features])
    assert torch.allclose(together, alone, atol=1e-5)


def test_less_context_is_the_beginning_of_the_positions(model):
    """Compared with the transformers encoder of a model with only that many positions."""
    features = torch.randn(1, 80, 600)
    short = WhisperForConditionalGeneration(
        WhisperConfig(**{**model.config.to_dict(), "max_source_positions": 300})
    ).eval()
    state = model.state_dict()
    state["model.encoder.embed_positions.weight"] = state["model.encoder.embed_positions.weight"][:300]
    short.load_state_dict(state)
    assert torch.allclose(encode(model, features, torch.float32), reference(short, features), atol=1e-4)


@pytest.mark.parametrize(
    ("weights", "device", "asked", "flags", "expected"),
    [
        (torch.float32, CPU, "auto", FLAGS, torch.bfloat16),
        (torch.float32, CPU, "fast", FLAGS, torch.bfloat16),
        (torch.float32, CPU, "float32", FLAGS, torch.float32),
        (torch.float32, CPU, "auto", frozenset({"avx2"}), torch.float32),
        (torch.float16, CPU, "auto", FLAGS, torch.float16),
        (torch.float16, CARD, "auto", FLAGS, torch.float16),
        (torch.float32, CARD, "auto", FLAGS, torch.float32),
    ],
)
def test_bfloat16_is_taken_only_on_a_processor_that_is_fast_at_it_and_unless_a_dtype_was_asked_for(
    weights, device, asked, flags, expected
):
    assert product_of(weights, device, asked, flags) == expected


@pytest.mark.parametrize(
    ("heard_s", "seconds"),
    [(0.0, 20.0), (1.0, 20.0), (12.0, 20.0), (12.01, 22.5), (19.5, 27.5), (20.0, 30.0), (29.0, 30.0)],
)
def test_the_context_is_twenty_seconds_or_the_clip_and_its_padding(heard_s, seconds):
    assert short_context.seconds(heard_s) == seconds


@pytest.mark.parametrize(
    ("text", "tokens", "logprob", "again"),
    [
        ("Turn on the lights in the kitchen.", 9, -0.3, False),
        ("Turn on the lights in the kitchen.", 9, -1.2, True),  # low confidence
        ("Turn on the lights in the kitchen.", 40, -0.3, True),  # impossibly fast speech
        ("10 of clubs 10 of clubs 10 of clubs", 12, -0.3, True),
        ("no no no no no no no no no no no no no no no no no no no no", 18, -0.3, True),
    ],
)
def test_what_looks_like_a_loop_is_heard_again_with_all_of_the_context(text, tokens, logprob, again):
    assert short_context.doubtful(text, tokens, logprob, 2.0) is again


@torch.inference_mode()
def test_the_likeliest_token_of_the_quick_product_is_that_of_the_exact_one(model):
    """The logits are computed in bfloat16, and those near the maximum are computed again exactly."""
    torch.manual_seed(5)
    encoded = torch.randn(4, 500, 48)
    cross = cross_of(model, encoded)
    exact, quick = Decoder(model, encoded, cross), Decoder(model, encoded, cross, product=torch.bfloat16)
    tokens = torch.zeros(4, 1, dtype=torch.long)
    for _ in range(6):
        wanted, found = exact.step(tokens), quick.step(tokens)
        tokens = wanted.argmax(-1, keepdim=True)
        assert torch.equal(found.argmax(-1, keepdim=True), tokens)
        assert torch.allclose(found.amax(-1), wanted.amax(-1), atol=1e-4)


def test_float16_convolves_in_float32_because_some_cards_give_nan(model, monkeypatch):
    """Compared with the transformers encoder in float16; without its NaN, which only a card has."""
    half = copy.deepcopy(model).half()
    features, convolved = torch.randn(2, 80, 1000), []
    plain = F.conv1d

    def watched(seen, *rest, **named):
        convolved.append(seen.dtype)
        return plain(seen, *rest, **named)

    monkeypatch.setattr(F, "conv1d", watched)
    for frames in (1000, 600):
        found = encode(half, features[:, :, :frames], torch.float16)
        assert found.dtype == torch.float16
        assert torch.isfinite(found).all()
        if frames == 1000:
            assert convolved == [torch.float32] * 4  # two for each window
            exact = reference(model, features)
            assert float((found.float() - exact).abs().mean()) < 0.01 * float(exact.abs().mean())
    assert set(convolved) == {torch.float32}
