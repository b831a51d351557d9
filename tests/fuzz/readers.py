"""All readers of untrusted input, each with a generator of damaged, random and hostile inputs.

A reader is created once in its own folder and called with a random source for each input. It returns, or raises if it
has a bug.
"""

import contextlib
import io
import json
import os
import sys

from tests.support.paths import ROOT

_WORDS = (
    "\n",
    "\u202e",
    "\x1b[2J",
    "\0",
    "\ud800",
    "é",
    "𝄞",
    '"',
    "'",
    "|",
    "=",
    ",",
    "@",
    "..",
    "/",
    "a",
    " ",
    "-",
    "9" * 40,
)


def damaged(fate, whole):
    """Return a copy with bytes changed, cut, duplicated or inserted."""
    data = bytearray(whole)
    for _ in range(fate.choice((1, 1, 2, 4, 16))):
        at = fate.randrange(len(data) + 1)
        match fate.randrange(6):
            case 0:
                data[at : at + 1] = bytes([fate.randrange(256)])
            case 1:
                del data[at:]
            case 2:
                data[at:at] = data[at : at + fate.randrange(200)]
            case 3:
                data[at : at + 4] = fate.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
            case 4:
                data[at : at + 8] = fate.randbytes(8)
            case 5:
                del data[at : at + fate.randrange(100)]
    return bytes(data)


def words(fate, most=30):
    """Return problematic text."""
    text = "".join(fate.choice(_WORDS) for _ in range(fate.randrange(most)))
    return text * fate.choice((1, 1, 1, 1, 100))


def value(fate, depth=0):
    """Return a random JSON value."""
    match fate.randrange(8 if depth < 4 else 6):
        case 0:
            return fate.choice((None, True, False, -1, 0, 2**63, 1e308, float("nan")))
        case 1 | 2:
            return words(fate, 8)
        case 3:
            return fate.randrange(-(2**70), 2**70)
        case 4 | 5:
            return fate.random()
        case 6:
            return [value(fate, depth + 1) for _ in range(fate.randrange(4))]
        case _:
            return {words(fate, 4): value(fate, depth + 1) for _ in range(fate.randrange(4))}


def told(refusal, read, *given):
    """Return the result, or the message of the GolemError."""
    try:
        return read(*given)
    except refusal as exc:
        return exc.message


# -- the readers: each returns a function of (fate) that reads one input and raises if the reader has a bug


def audio(folder):
    """Damaged containers of libsndfile and FFmpeg, and silence that expands far beyond its bytes."""
    import numpy as np

    from golem_chain.shared.errors import BadAudio
    from golem_chain.shared.settings import Settings
    from golem_chain.workers.stages.scribe.audio.containers import stated_s
    from golem_chain.workers.stages.scribe.audio.decode import decode
    from tests.support.sounds import av_file, file, tone

    limits = Settings.read(_env_file=None, audio_max_s=30)
    heads = [file(tone(8000, 0.2), 8000, form) for form in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "W64", "CAF")]
    heads += [av_file(tone(48_000, 0.2), 48_000, *kind) for kind in (("mp4", "aac"), ("webm", "libopus"))]
    silence = np.zeros((16_000 * 3600, 1), np.int16)
    bombs = [file(silence, 16_000, "FLAC")]
    del silence

    def read(fate):
        kind = fate.randrange(100)
        data = fate.randbytes(fate.randrange(400)) if kind == 0 else damaged(fate, fate.choice(heads))
        data = damaged(fate, bombs[0]) if kind == 1 and fate.randrange(10) == 0 else data
        assert 0 < (stated_s(data) or 1) < np.inf
        sound = told(BadAudio, decode, data, "fuzz", limits)
        if isinstance(sound, str):
            assert sound.startswith("fuzz "), sound
            return
        assert len(sound) <= 31 * 16_000, len(sound)
        assert np.isfinite(sound).all()
        assert np.abs(sound).max(initial=0) <= 1

    return read


def records(folder):
    """Messages with wrong values, outcomes, dead letters."""
    from pydantic import ValidationError

    from golem_chain.broker.transport.dead_letter import Letter
    from golem_chain.shared.records import Handover, Outcome
    from tests.support.messages import WHOLE, harmless, places, swapped

    spots = places(WHOLE)
    whole = json.dumps(WHOLE).encode()

    def read(fate):
        match fate.randrange(3):
            case 0:
                with contextlib.suppress(ValidationError):
                    Handover.model_validate(swapped(WHOLE, fate.choice(spots), value(fate)))
            case 1:
                with contextlib.suppress(ValidationError):
                    Outcome.model_validate_json(damaged(fate, whole))
            case 2:
                letter = Letter(damaged(fate, json.dumps({"raw": words(fate), "why": words(fate)}).encode()))
                assert all(harmless(one) for one in letter.shown().values() if isinstance(one, str))

    return read


def labels(folder):
    """The option --labels, label files, displayed names."""
    from golem_chain.shared.errors import GolemError
    from golem_chain.shared.labels import load_labels, parse_labels
    from golem_chain.shared.text import visible
    from tests.support.messages import harmless

    path = folder / "labels.toml"
    whole = (ROOT / "shared" / "intents.toml").read_bytes()[:3000]

    def read(fate):
        if fate.randrange(4):
            found = told(GolemError, parse_labels, words(fate, 60).replace("@", ""))
        else:
            path.write_bytes(damaged(fate, whole))
            found = told(GolemError, load_labels, path)
        if isinstance(found, str):
            assert harmless(found), found
            assert len(found) < 1000, found
        else:
            assert found.labels
        assert harmless(visible(words(fate)))

    return read


def ctranslate2(folder):
    """CTranslate2's model.bin."""
    import torch

    from golem_chain.shared.errors import ModelCorrupt
    from golem_chain.workers.store.formats.ctranslate2 import read_variables, whisper
    from tests.support.store_models import ctranslate2_bytes

    whole = ctranslate2_bytes({f"a{n}": torch.arange(n + 1, dtype=torch.float32) for n in range(3)}, (("b", "a1"),))

    def read(fate):
        data = bytearray(damaged(fate, whole))
        with contextlib.suppress(ModelCorrupt):
            read_variables(data, "model.bin")
        with contextlib.suppress(ModelCorrupt):
            whisper(data, "model.bin")

    return read


def gguf(folder):
    """GGUF: header, tensors and tokenizer."""
    from golem_chain.shared.errors import ModelCorrupt
    from golem_chain.workers.store.formats.gguf import parse
    from golem_chain.workers.store.formats.llama import llama as from_gguf
    from golem_chain.workers.store.formats.llama import tokenizer_files
    from tests.support.store_models import llama, write_gguf

    write_gguf(folder / "m.gguf", llama())
    whole = (folder / "m.gguf").read_bytes()
    head, rest = whole[:6000], whole[6000:]

    def read(fate):
        with contextlib.suppress(ModelCorrupt):
            found = parse(bytearray(damaged(fate, head) + rest), "m.gguf")
            from_gguf(found)
            tokenizer_files(found)

    return read


def safetensors(folder):
    """Memory-mapped safetensors files."""
    import torch

    from golem_chain.shared.errors import ModelCorrupt
    from golem_chain.workers.store.formats.safetensors_files import map_tensors, write_tensors
    from tests.support.store_models import planned

    path = folder / "a.safetensors"
    write_tensors(path, planned({"x": torch.ones(4), "y": torch.arange(3)}), torch.float32)
    whole = path.read_bytes()

    def read(fate):
        path.write_bytes(damaged(fate, whole))
        with contextlib.suppress(ModelCorrupt):
            map_tensors(path)

    return read


def arguments(folder):
    """Arguments of `golem`: must give an exit code and one sentence, no traceback, and start nothing."""
    from golem_chain.broker.cli import main
    from golem_chain.broker.local import system
    from golem_chain.shared.errors import BadRequest

    def nothing(*args, **kwargs):
        raise BadRequest("A system would be started.")

    system.private_system = system.pull_missing = nothing  # ".." may hold recordings
    os.environ["GOLEM_REDIS_URL"] = "redis://127.0.0.1:1/0"
    os.chdir(folder)
    (folder / "a.wav").write_bytes(b"x")
    # only commands that do not connect to Redis first and wait for it
    known = ["run", "run", "dead", "timeline", "a.wav", "--labels", "--json", "--wait", "--seed", "--task"]
    known += ["--language", "--help", "-", "-o", "--most", "--expires"]

    def read(fate):
        typed = [fate.choice(known) for _ in range(fate.randrange(4))]
        typed.insert(fate.randrange(len(typed) + 1), words(fate, 10).replace("\0", ""))
        sys.argv = ["golem", *typed]
        sys.stdin = io.TextIOWrapper(io.BytesIO(words(fate).encode(errors="replace")))
        with (
            contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())),
            contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO())) as said,
        ):
            try:
                main.main()
            except SystemExit as left:
                code = left.code or 0
            else:
                code = 0
            said.flush()
            shown = said.buffer.getvalue().decode(errors="replace")
        assert code in (0, 1, 2), code
        assert "Traceback" not in shown, shown
        assert "Internal error" not in shown, shown

    return read


READERS = {one.__name__: one for one in (audio, records, labels, ctranslate2, gguf, safetensors, arguments)}
