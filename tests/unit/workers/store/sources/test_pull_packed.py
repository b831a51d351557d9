"""A pull with bits keeps packed weights packed, to the bit, and packs others beside the file."""

import pytest
import torch
from typer.testing import CliRunner

from golem_chain.shared.errors import StoreNewer
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store import find, manifest, variants, verify
from golem_chain.workers.store.commands import app
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.making import packed_bits
from golem_chain.workers.store.sources.pull import pull
from tests.support.store_models import gpt2, llama, same_weights, write_gguf
from tests.support.store_pulls import QUIET, Lines, settings_of


@pytest.fixture(params=["Q8_0", "Q4_1", "Q4_0"])
def blocks(request, tmp_path):
    """The settings of a store without models, and a Llama of packed blocks to pull into it."""
    (tmp_path / "gguf").mkdir()
    write_gguf(tmp_path / "gguf" / "model.gguf", llama(), request.param)
    return settings_of(tmp_path, oracle_model=str(tmp_path / "gguf")), request.param


@pytest.mark.parametrize("bits", [8, 4])
def test_blocks_stay_packed_and_unpack_to_what_a_pull_without_bits_gives(blocks, bits, tmp_path):
    settings, kind = blocks
    packed = pull(settings, stages=("oracle",), show=QUIET, bits=bits)["oracle"]
    plain = pull(settings.model_copy(update={"store": tmp_path / "plain"}), stages=("oracle",), show=QUIET)["oracle"]
    verify(packed)
    assert packed_bits(packed) == (8 if kind == "Q8_0" else 4)
    assert packed_bits(plain) is None
    assert packed.size_bytes < plain.size_bytes / 2
    assert packed.fingerprint == plain.fingerprint
    make = type(llama())
    assert same_weights(Weights(packed, make).load(), Weights(plain, make).load())
    assert Weights(packed, make).nbytes == Weights(plain, make).nbytes
    half = Weights(packed, make, dtype=torch.bfloat16), Weights(plain, make, dtype=torch.bfloat16)
    assert same_weights(half[0].load(), half[1].load())
    assert variants.held(packed) == {}  # the file is that form already


def test_a_later_pull_without_bits_keeps_what_is_there(blocks):
    settings, _ = blocks
    packed = pull(settings, stages=("oracle",), show=QUIET, bits=4)["oracle"]
    for dtype in ("auto", "bfloat16", "float16"):
        again = pull(settings.model_copy(update={"dtype": dtype}), stages=("oracle",), show=QUIET)["oracle"]
        assert again == packed
    assert find(settings, "oracle") == packed


def test_packed_blocks_run_as_the_packed_layers_that_they_are(blocks):
    settings, kind = blocks
    packed = pull(settings, stages=("oracle",), show=QUIET, bits=4)["oracle"]
    weights = Weights(packed, type(llama()), bits=4)
    model = weights.load()
    kinds = {place.modules[0].held().kind for place in weights.build().places}
    assert kind.lower() in kinds
    tokens = torch.arange(1, 60)[None]
    with torch.inference_mode():
        theirs = Weights(packed, type(llama())).load()(tokens).logits
        assert (model(tokens).logits - theirs).abs().max() < 1e-4


def test_a_checkpoint_that_was_pulled_without_bits_gets_a_variant_and_is_not_pulled_again(tmp_path):
    gpt2().save_pretrained(tmp_path / "source")
    settings = settings_of(tmp_path, oracle_model=str(tmp_path / "source"))
    before = pull(settings, stages=("oracle",), show=QUIET)["oracle"]
    assert pull(settings, stages=("oracle",), show=QUIET, bits=8)["oracle"] == before
    assert variants.find(before, Precision("float32", 8))
    by_setting = settings.model_copy(update={"bits": "4"})
    assert pull(by_setting, stages=("oracle",), show=QUIET)["oracle"] == before
    assert variants.find(before, Precision("float32", 4))


def test_the_command_takes_eight_or_four_bits_and_verify_reads_variants_too(tmp_path, monkeypatch):
    gpt2().save_pretrained(tmp_path / "source")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOLEM_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("GOLEM_ORACLE_MODEL", str(tmp_path / "source"))
    run = CliRunner().invoke
    assert "use 8 or 4" in run(app, ["pull", "--bits", "5"]).output
    assert run(app, ["pull", "--stage", "oracle", "--bits", "8", "--help"]).exit_code == 0
    done = run(app, ["pull", "--stage", "oracle", "--bits", "8"])
    assert done.exit_code == 0, done.output
    assert run(app, ["verify"]).exit_code == 0
    found = next((tmp_path / "store").rglob("model.8bit.safetensors"))
    found.write_bytes(found.read_bytes()[:-1] + b"x")
    said = run(app, ["verify"])
    assert said.exit_code == 1
    assert "model.8bit.safetensors was altered since it was made: delete it" in said.output


# -- records of other versions -------------------------------------------------------------------------------------


def older(checkpoint):
    """Make a record one of 0.6."""
    path = checkpoint.folder / "golem.json"
    path.write_text(path.read_text().replace(f'"format": {manifest.FORMAT}', '"format": 1'))


def test_a_store_of_an_earlier_version_is_read_and_its_record_renewed_with_one_line(tmp_path):
    gpt2().save_pretrained(tmp_path / "source")
    settings = settings_of(tmp_path, oracle_model=str(tmp_path / "source"))
    made = pull(settings, stages=("oracle",), show=QUIET)["oracle"]
    older(made)
    held = find(settings, "oracle")
    assert held.format == 1
    assert same_weights(Weights(held, type(gpt2())).load(), gpt2())
    said = Lines()
    assert pull(settings, stages=("oracle",), show=said)["oracle"] == made
    assert [line for line in said.lines if "earlier version" in line] == [
        f"oracle: the record of {made.id}, of an earlier version, is now in format 2; its weights are used as they are."
    ]
    again = Lines()
    pull(settings, stages=("oracle",), show=again)
    assert not [line for line in again.lines if "earlier version" in line]


def test_a_store_of_a_newer_version_is_refused_and_not_overwritten(tmp_path):
    gpt2().save_pretrained(tmp_path / "source")
    settings = settings_of(tmp_path, oracle_model=str(tmp_path / "source"))
    made = pull(settings, stages=("oracle",), show=QUIET)["oracle"]
    path = made.folder / "golem.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    before = path.read_bytes()
    for refused in (lambda: find(settings, "oracle"), lambda: pull(settings, stages=("oracle",), show=QUIET)):
        with pytest.raises(StoreNewer, match=r"golem\.json is of a newer version .*format 3.*GOLEM_STORE"):
            refused()
    assert path.read_bytes() == before
    assert isinstance(next(iter(manifest.stored(settings)))[1], StoreNewer)
