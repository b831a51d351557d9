"""Selection of the dtype, and the accuracy of reduced precision."""

import pytest
import torch

from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.cpu import fast_at_bfloat16, flags_of, read_flags
from golem_chain.workers.devices.selection import pick_dtype
from golem_chain.workers.store.load import Weights
from tests.support.store_models import ALL, stored

ZEN4 = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu avx2 avx512_bf16\n"


def test_the_flags_are_those_that_every_core_has():
    assert flags_of(ZEN4) == {"fpu", "avx2", "avx512_bf16"}
    assert flags_of("vendor_id : x\nvmx flags : ept\n") == frozenset()
    assert flags_of("") == frozenset()
    assert isinstance(read_flags(), frozenset)


@pytest.mark.parametrize(
    ("flags", "fast"),
    [({"avx512_bf16"}, True), ({"amx_bf16", "avx2"}, True), ({"avx512f", "f16c"}, False), ((), False)],
)
def test_a_cpu_is_fast_at_bfloat16_where_it_has_the_instructions(flags, fast):
    assert fast_at_bfloat16(frozenset(flags)) is fast


@pytest.mark.parametrize("dtype", ["auto", "fast"])
@pytest.mark.parametrize("stage", ["scribe", "interpreter", "oracle"])
@pytest.mark.parametrize("cross_encoder", [True, False])
@pytest.mark.parametrize("flags", [{"avx512_bf16"}, ()])
def test_on_a_cpu_only_an_nli_interpreter_and_the_oracle_leave_float32_where_asked(dtype, stage, cross_encoder, flags):
    chosen = pick_dtype(
        Settings.read(_env_file=None, dtype=dtype), None, stage, cross_encoder=cross_encoder, flags=frozenset(flags)
    )
    may = stage == "oracle" or (stage == "interpreter" and cross_encoder)
    shorter = may and dtype == "fast" and bool(flags)
    assert chosen == (torch.bfloat16 if shorter else torch.float32)


def test_what_was_set_is_taken():
    asked = Settings.read(_env_file=None, dtype="float16")
    assert pick_dtype(asked, None, "scribe", flags=frozenset()) == torch.float16


def inputs(kind, dtype):
    source = torch.Generator().manual_seed(11)
    ids = torch.randint(3, 49, (3, 7), generator=source)
    if kind == "whisper":
        sound = torch.randn(3, 4, 3000, generator=source).to(dtype)
        return {"input_features": sound, "decoder_input_ids": ids}
    if kind == "bart":
        ids[:, -1] = 2  # the classification head uses the last </s>
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def output(tmp_path, kind, checkpoint, dtype):
    model = Weights(checkpoint, type(ALL[kind]()), dtype=dtype).load()
    assert {p.dtype for p in model.parameters()} == {dtype}
    with torch.inference_mode():
        told = model(**inputs(kind, dtype))
    return (told.last_hidden_state if kind == "bert" else told.logits).float()


def spread(model):
    """Make the weights large enough that results differ between inputs."""
    with torch.no_grad():
        for parameter in {id(p): p for p in model.parameters()}.values():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return model


@pytest.mark.parametrize("kind", ALL)
def test_half_precision_gives_nearly_what_float32_gives(tmp_path, kind):
    checkpoint = stored(tmp_path, kind, spread(ALL[kind]()))
    full = output(tmp_path, kind, checkpoint, torch.float32)
    assert full.abs().max() > 0.2, "numbers that say something"
    for dtype in (torch.bfloat16, torch.float16):
        half = output(tmp_path, kind, checkpoint, dtype)
        # bfloat16 has 8 significant bits: a rounding error of 2^-9 per step, which grows with the depth of the model
        assert (half - full).abs().max() <= 0.04 * full.abs().max()
        assert torch.nn.functional.cosine_similarity(half.flatten(), full.flatten(), dim=0) > 0.9995
        if kind == "bart":
            assert (half.softmax(-1) - full.softmax(-1)).abs().max() < 0.02
            assert torch.equal(half.argmax(-1), full.argmax(-1))
