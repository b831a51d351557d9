"""Figures and tables of an evaluation under noise, with made-up answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import Transcript
from golem_chain.shared.settings import Settings
from golem_chain.workers.evaluation import conditions, robustness
from golem_chain.workers.evaluation.conditions import CLEAN, TELEPHONE, Condition
from golem_chain.workers.evaluation.datasets import Clip
from golem_chain.workers.evaluation.inference import Heard, Reader
from golem_chain.workers.evaluation.robustness import Treatment

SETTINGS = Settings.read(_env_file=None)
CLIPS = [
    Clip(Path("a.wav"), text="turn on the light", language="en"),
    Clip(Path("b.wav"), text="stop", language="en"),
    Clip(Path("rain.wav"), text=""),
]


def treated(*snrs_db: float, phone: bool = False, folder: Path | None = None) -> Treatment:
    return robustness.treatment(snrs_db, folder, 0, SETTINGS, phone=phone)


def write(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, "PCM_16")
    return path


def test_lost_speech_and_invented_text_are_counted_in_every_condition() -> None:
    said = {"clean": ("turn on the light", "stop", ""), "0 dB": ("turn on a light", "", "you")}

    def listen(clips: Sequence[Clip], read: Reader, what: str) -> list[Heard]:
        assert callable(read)
        texts = zip(clips, said[what], strict=True)
        return [Heard(clip, Transcript(text=text, language="en" if text else None)) for clip, text in texts]

    clean, loud = robustness.measure(listen, CLIPS, treated(0))
    assert clean | {"wer": 0.0, "silent": 0, "silenced": 0, "with_words": 0, "by_noise": {}} == clean
    assert loud | {"wer": 40.0, "silent": 1, "silenced": 1, "with_words": 1, "snr_db": 0} == loud
    assert loud | {"clips_with_speech": 2, "clips_without_speech": 1, "language_right": 1} == loud
    assert sum(one["words"] for one in loud["by_noise"].values()) == 5
    first, second = robustness.tables([clean, loud], multilingual=True)
    assert first.rows[1] == ("0 dB", 2, 5, "40.0 %", 1, "1 of 2", "1 of 1", "1 of 2")
    assert second.columns == ("noise", "0 dB")


def test_a_plot_needs_two_ratios(tmp_path: Path) -> None:
    found = [
        robustness.figures(condition, [Heard(clip, Transcript(text="stop")) for clip in CLIPS], treated(10, 0))
        for condition in conditions.conditions([10, 0], telephone=True)
    ]
    assert robustness.draw(found[:2]) is None
    plot = robustness.draw(found)
    assert plot
    plot(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").read_bytes().startswith(b"\x89PNG")


def test_figures_of_nothing_but_noise_have_no_word_error_rate(tmp_path: Path) -> None:
    found = [
        robustness.figures(condition, [Heard(CLIPS[2], Transcript())], treated(10, 0))
        for condition in conditions.conditions([10, 0], telephone=True)
    ]
    assert [one["wer"] for one in found] == [None] * 4
    plot = robustness.draw(found)
    assert plot
    plot(tmp_path / "noise.png")


def test_every_condition_reads_what_the_product_decodes_and_twice_the_same(tmp_path: Path) -> None:
    stereo = np.random.default_rng(0).normal(0, 0.1, (22_050, 2))
    clip = Clip(write(tmp_path / "stereo.wav", stereo, 44_100), text="stop")
    chosen = treated(10, phone=True)
    assert chosen.conditions == (CLEAN, Condition("10 dB", 10), TELEPHONE)
    datas = [chosen.reader(condition)(clip) for condition in chosen.conditions]
    again = [treated(10, phone=True).reader(condition)(clip) for condition in chosen.conditions]
    for one, other in zip(datas, again, strict=True):
        assert one.partition(b"data")[2] == other.partition(b"data")[2]  # the header of floats has the time of day
    assert datas[0] == clip.path.read_bytes()
    for data, samples, rate in ((datas[1], 8000, 16_000), (datas[2], 4000, 8000)):
        (tmp_path / "read.wav").write_bytes(data)
        seen = soundfile.info(tmp_path / "read.wav")
        assert (seen.frames, seen.samplerate, seen.channels) == (samples, rate, 1)


def test_own_recordings_of_noise_are_mixed_in(tmp_path: Path) -> None:
    at = np.arange(44_100)
    write(tmp_path / "noise" / "hum.wav", 0.2 * np.sin(2 * np.pi * 100 * at / 44_100), 44_100)
    clip = Clip(write(tmp_path / "clip.wav", 0.1 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)), text="stop")
    chosen = treated(0, folder=tmp_path / "noise")
    (tmp_path / "read.wav").write_bytes(chosen.reader(chosen.conditions[1])(clip))
    spectrum = np.abs(np.fft.rfft(soundfile.read(tmp_path / "read.wav")[0]))
    assert sorted(np.argsort(spectrum)[-2:]) == [100, 1000]
    assert spectrum[100] == pytest.approx(spectrum[1000], rel=0.02)
    assert chosen.noise_of(clip) == "hum.wav"


def test_noises_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    write(tmp_path / "quiet" / "zero.wav", np.zeros(16_000))
    with pytest.raises(BadRequest, match=r"The noise .*zero\.wav is silent: remove it"):
        treated(10, folder=tmp_path / "quiet")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.wav").write_text("no audio")
    with pytest.raises(BadRequest, match=r"The noise .*text\.wav cannot be read as audio"):
        treated(10, folder=tmp_path / "bad")
    with pytest.raises(BadRequest, match="There is no file or folder"):
        treated(10, folder=tmp_path / "none")


def test_a_recording_is_not_its_own_noise(tmp_path: Path) -> None:
    path = write(tmp_path / "noise" / "only.wav", np.random.default_rng(0).normal(0, 0.1, 16_000))
    chosen = treated(10, folder=tmp_path / "noise")
    with pytest.raises(BadRequest, match=r"only\.wav cannot be its own noise: give more recordings"):
        chosen.reader(chosen.conditions[1])(Clip(path, text=""))
