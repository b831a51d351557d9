"""Log-mel features of windows, on the device of the model, without computing their padding.

As in openai/whisper (Radford et al., arXiv 2212.04356, section 2.2): Hann window, power spectrum, mel filters, log10, a
floor 8 below the window's largest value, scaled to about [-1, 1]. The filters are the checkpoint's own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.devices.products import linear

_LEAST = 1e-10  # of a power, before the logarithm
_RANGE = 8.0  # powers of ten


class MelFeatures:
    """Computes what transformers' WhisperFeatureExtractor does, with the parameters of one."""

    def __init__(self, extractor: Any) -> None:
        """Raises AttributeError, TypeError and ValueError if the extractor lacks parameters."""
        self._length, self._hop = int(extractor.n_fft), int(extractor.hop_length)
        self._samples = int(extractor.n_samples)  # of a whole window
        filters = np.asarray(extractor.mel_filters, np.float32).T  # (mels, frequencies)
        self._filters = torch.from_numpy(np.ascontiguousarray(filters))
        self._window = torch.hann_window(self._length)

    @torch.inference_mode()
    def of(self, pieces: Sequence[npt.NDArray[np.float32]], device: torch.device) -> torch.Tensor:
        """Features of pieces of sound, (n,) each, 16 kHz, at most a window: float32 (batch, mels, frames of a window)
        on the device. A piece's features do not depend on the others."""
        filters, window = self._filters.to(device), self._window.to(device)
        found = torch.empty(len(pieces), len(filters), self._samples // self._hop, device=device)
        # on a CPU one by one: the data of one piece fits into the cache
        together = 1 if device.type == "cpu" else len(pieces)
        for at in range(0, len(pieces), together):
            power = self._power(pieces[at : at + together], window)
            logs = linear(power, filters).clamp_(min=_LEAST).log10_().transpose(1, 2)
            out, heard = found[at : at + together], logs.shape[2]
            # what follows a piece is silence; with the piece's own values it has a common floor
            out[:, :, :heard], out[:, :, heard:] = logs, np.log10(_LEAST)
            floor = logs.amax((1, 2), keepdim=True) - _RANGE
            torch.maximum(out, floor, out=out)
        return found.add_(4.0).div_(4.0)

    def _power(self, pieces: Sequence[npt.NDArray[np.float32]], window: torch.Tensor) -> torch.Tensor:
        """The power spectrum, (batch, frames, frequencies), of all frames that any of the pieces reaches into."""
        longest = max(len(piece) for piece in pieces)
        samples = min(self._samples, -(-(longest + self._length) // self._hop) * self._hop)
        sound = torch.zeros(len(pieces), samples)
        for row, piece in zip(sound, pieces, strict=True):
            row.numpy()[: len(piece)] = piece
        half = self._length // 2
        around = F.pad(sound.to(window.device), (half, half), mode="reflect")
        frames = around.unfold(1, self._length, self._hop)[:, : samples // self._hop]
        spectrum = torch.view_as_real(torch.fft.rfft(frames * window))
        return spectrum.square_().sum(-1)
