"""Every family runs packed, and answers as with the weights that its packed ones stand for."""

import gc
import weakref
from typing import Any

import pytest
import torch

from golem_chain.shared.labels import parse_labels
from golem_chain.shared.records import Intent, OracleParams
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.interpreter import engine as interpreter
from golem_chain.workers.stages.oracle import engine as oracle
from golem_chain.workers.store.load import Weights
from tests.support import packed_models, text_models

LABELS = parse_labels("lights_on=turning on the lights,music_stop,weather=what is the weather")
TEXTS = ["turn on the lights", "no", "what is the weather like tomorrow in the city"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]

INTERPRETERS: dict[str, Any] = {"bart": lambda folder: text_models.bart(folder, full=False), "bert": text_models.bert}
ORACLES: dict[str, Any] = {"gpt2": lambda folder: text_models.gpt2(folder, full=False), "llama": text_models.llama}


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    packed_models.pack_all(monkeypatch)


def intents(held):
    engine = interpreter.Interpreter(held, Settings.read(_env_file=None))
    engine.load()
    ready: list[Any] = [engine.prepare(interpreter.Utterance(text, "en", LABELS)) for text in TEXTS]
    return engine.run([one.item for one in ready if isinstance(one, Ready)])


def replies(held):
    engine = oracle.Oracle(held, Settings.read(_env_file=None))
    engine.load()
    intent = Intent(label="lights_on", score=1.0, method="cosine")
    asked = OracleParams(max_new_tokens=12, temperature=0)
    cues = [oracle.ReplyRequest(text, intent, LABELS, asked, 1) for text in TEXTS]
    ready: list[Any] = [engine.prepare(cue) for cue in cues]
    return engine.run([one.item for one in ready])


def weights_of(stage, held, tmp_path, bits, dtype=torch.float32):
    make = {"interpreter": interpreter.make, "oracle": oracle.make}[stage]
    return Weights(packed_models.stored(stage, held, tmp_path / "store"), make, dtype=dtype, bits=bits)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", INTERPRETERS)
def test_a_packed_interpreter_scores_as_its_unpacked_weights_do(tmp_path, kind, bits):
    (tmp_path / "model").mkdir()
    held = INTERPRETERS[kind](tmp_path / "model")
    weights = weights_of("interpreter", held, tmp_path, bits)
    packed: Any = intents(weights)
    plain: Any = intents(packed_models.unpacked(weights, held))
    for ours, theirs in zip(packed, plain, strict=True):
        assert ours.label == theirs.label
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", ORACLES)
def test_a_packed_oracle_replies_as_its_unpacked_weights_do(tmp_path, kind, bits):
    (tmp_path / "model").mkdir()
    held = ORACLES[kind](tmp_path / "model")
    weights = weights_of("oracle", held, tmp_path, bits)
    packed = replies(weights)
    assert packed == replies(packed_models.unpacked(weights, held))
    assert any(reply.text for reply in packed)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("kind", [*INTERPRETERS, *ORACLES])
def test_packed_weights_run_with_rows_in_half_precision(tmp_path, kind, dtype, bits):
    (tmp_path / "model").mkdir()
    stage = "oracle" if kind in ORACLES else "interpreter"
    weights = weights_of(stage, (INTERPRETERS | ORACLES)[kind](tmp_path / "model"), tmp_path, bits, dtype)
    assert weights.precision.name == f"{str(dtype)[6:]} {bits} bit"
    answers: Any = replies(weights) if stage == "oracle" else intents(weights)
    assert len(answers) == len(TEXTS)
    assert all(answer is not None and not isinstance(answer, Exception) for answer in answers)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", [*INTERPRETERS, *ORACLES])
def test_the_size_is_counted_as_it_is_and_an_unload_leaves_nothing(tmp_path, kind, bits):
    (tmp_path / "model").mkdir()
    stage = "oracle" if kind in ORACLES else "interpreter"
    weights = weights_of(stage, (INTERPRETERS | ORACLES)[kind](tmp_path / "model"), tmp_path, bits)
    model: Any = weights.load()
    plain = {id(p): p for p in model.parameters()}.values()
    buffers = [b for name, b in model.named_buffers() if name in model.state_dict()]
    packed = [place.modules[0].held() for place in weights.build().places]
    assert packed
    assert weights.nbytes == sum(t.nbytes for t in (*plain, *buffers, *packed))
    alive = [weakref.ref(part) for one in packed for part in (one.values, one.scales)]
    alive += [weakref.ref(p) for p in plain]
    del packed, plain, buffers
    weights.unload()
    gc.collect()
    assert not [ref for ref in alive if ref() is not None]
    with pytest.raises(AssertionError, match="not loaded"):
        model.get_input_embeddings()(torch.tensor([0]))
    weights.load()
    assert model.get_input_embeddings()(torch.tensor([0])).isfinite().all()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_head_and_the_embedding_that_it_is_tied_to_share_one_packed_matrix(tmp_path, kind):
    (tmp_path / "model").mkdir()
    held = ORACLES[kind](tmp_path / "model")
    held.config.tie_word_embeddings = held.model.config.tie_word_embeddings = True
    held.model.tie_weights()
    weights = weights_of("oracle", held, tmp_path, 8)
    model: Any = weights.load()
    assert model.get_input_embeddings().held() is model.get_output_embeddings().held()


def test_weights_that_are_not_finite_are_found_in_packed_ones_too(tmp_path):
    (tmp_path / "model").mkdir()
    held = ORACLES["gpt2"](tmp_path / "model")
    with torch.no_grad():
        held.model.transformer.h[0].mlp.c_fc.weight[3, 5] = torch.nan
    answers: Any = replies(weights_of("oracle", held, tmp_path, 8))
    assert all(answer.code == "model-corrupt" for answer in answers)
