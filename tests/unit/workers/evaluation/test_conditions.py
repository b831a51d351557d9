"""Noise at exactly the asked ratio, without clipping, the same twice; the telephone line's band and code."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from golem_chain.workers.evaluation import conditions
from golem_chain.workers.evaluation.conditions import CLEAN, TELEPHONE, Condition, Noise

RATE = 16_000


def tone(hz: float, seconds: float, amplitude: float = 0.5) -> np.ndarray:
    return np.asarray(amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE), np.float32)


def db(ratio: float) -> float:
    return 10 * float(np.log10(ratio))


@pytest.mark.parametrize("snr_db", [30.0, 10.0, 0.0, -5.0])
def test_noise_stands_at_the_asked_distance_below_the_signal(snr_db: float) -> None:
    signal, noise = tone(500, 1.024, 0.1), conditions.computed(0)[0].samples[: round(1.024 * RATE)]
    added = conditions.mix(signal, noise, snr_db) - signal
    assert db(conditions.power(signal) / conditions.power(added)) == pytest.approx(snr_db, abs=0.01)


def test_a_pause_does_not_make_the_noise_quieter() -> None:
    voice, pause = tone(500, 1.024), np.zeros(4 * RATE, np.float32)
    assert conditions.active_power(np.concatenate([voice, pause])) == pytest.approx(conditions.power(voice))
    hiss = np.random.default_rng(1).normal(0, 0.5 * 10 ** (-40 / 20), 4 * RATE).astype(np.float32)
    assert conditions.active_power(np.concatenate([voice, hiss])) == pytest.approx(conditions.power(voice))


def test_soft_sounds_15_db_below_the_loudest_count_as_signal() -> None:
    loud, soft = tone(500, 1.024, 0.5), tone(500, 1.024, 0.5 * 10 ** (-15 / 20))
    both = conditions.active_power(np.concatenate([loud, soft]))
    assert both == pytest.approx((conditions.power(loud) + conditions.power(soft)) / 2)


def test_a_sum_above_full_scale_is_scaled_as_a_whole_and_never_clipped() -> None:
    signal, noise = tone(500, 1.024, 1.0), conditions.computed(0)[1].samples[: round(1.024 * RATE)]
    mixed = conditions.mix(signal, noise, 0)
    assert np.abs(mixed).max() == pytest.approx(1.0)
    scale = float(mixed @ signal / (signal @ signal))  # the noise is all but orthogonal to the tone
    rest = np.asarray(mixed - scale * signal, np.float32)
    assert scale < 0.7
    assert db(scale**2 * conditions.power(signal) / conditions.power(rest)) == pytest.approx(0, abs=0.1)
    read, _ = soundfile.read(io.BytesIO(conditions.wav(mixed)), dtype="float32")
    assert np.array_equal(read, mixed)


def test_noise_beside_digital_silence_has_the_level_it_has_beside_nominal_speech() -> None:
    mixed = conditions.mix(np.zeros(RATE, np.float32), tone(300, 1), 10)
    assert db(conditions.power(mixed)) == pytest.approx(-26 - 10, abs=0.01)


def test_a_recording_too_short_for_a_frame_and_an_empty_one_are_mixed() -> None:
    assert len(conditions.mix(tone(500, 0.01), tone(300, 0.01), 5)) == 160
    assert not len(conditions.mix(np.zeros(0, np.float32), np.zeros(0, np.float32), 5))


def test_the_same_seed_gives_the_same_noise_and_another_seed_another() -> None:
    for one, same, other in zip(*(conditions.computed(seed) for seed in (3, 3, 4)), strict=True):
        assert np.array_equal(one.samples, same.samples)
        assert not np.array_equal(one.samples, other.samples)

    def part(folder: str, name: str, seed: int) -> np.ndarray:
        chosen = conditions.choose(conditions.computed(0), Path(folder) / name, seed)
        assert chosen
        return conditions.part_of(chosen[0], RATE, chosen[1])

    assert np.array_equal(part("/a", "x.wav", 1), part("/b", "x.wav", 1))  # wherever the folder lies
    assert not np.array_equal(part("/a", "x.wav", 1), part("/a", "x.wav", 2))
    assert not np.array_equal(part("/a", "x.wav", 1), part("/a", "y.wav", 1))


def test_every_noise_is_used_and_none_for_the_recording_it_is() -> None:
    noises = [Noise(name, tone(300, 1), Path(f"/noise/{name}.wav")) for name in "abc"]
    chosen = [conditions.choose(noises, Path(f"/clips/{n}.wav"), 0) for n in range(40)]
    assert {one[0].name for one in chosen if one} == set("abc")
    own = [conditions.choose(noises, Path("/noise/a.wav"), seed) for seed in range(40)]
    assert {one[0].name for one in own if one} == set("bc")
    assert conditions.choose(noises[:1], Path("/noise/a.wav"), 0) is None


def test_a_short_noise_is_repeated_and_its_pauses_are_not_taken() -> None:
    random = np.random.default_rng(0)
    assert len(conditions.part_of(Noise("short", tone(300, 0.1)), 5 * RATE, random)) == 5 * RATE
    knock = Noise("knock", np.concatenate([np.zeros(60 * RATE, np.float32), tone(300, 1), np.zeros(1, np.float32)]))
    assert all(conditions.power(conditions.part_of(knock, RATE, random)) > 0.001 for _ in range(20))


def test_a_silent_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="the noise quiet is silent"):
        Noise("quiet", np.zeros(RATE, np.float32))


def test_babble_beats_like_syllables_and_hum_is_mains() -> None:
    pink, babble, hum = (noise.samples for noise in conditions.computed(0))
    spectrum = np.abs(np.fft.rfft(hum)) ** 2
    hz = np.fft.rfftfreq(len(hum), 1 / RATE)
    assert hz[spectrum.argmax()] == pytest.approx(50, abs=0.1)

    def depth(samples: np.ndarray) -> float:
        levels = np.sqrt(np.square(samples[: len(samples) // 1600 * 1600]).reshape(-1, 1600).mean(1))
        return float(levels.std() / levels.mean())

    assert depth(babble) > 2 * depth(pink)
    low, high = (float(np.square(np.abs(np.fft.rfft(pink)))[(hz > f) & (hz < 2 * f)].sum()) for f in (200, 1600))
    assert low == pytest.approx(high, rel=0.1)  # equal power in each octave


#: 16-bit samples and their codes in G.711 μ-law (ITU-T G.711, table 2; as audioop.lin2ulaw has them).
CODES = {
    0: 0xFF, 8: 0xFE, 100: 0xF2, 1000: 0xCE, 4000: 0xAF, 8031: 0xA0, 16000: 0x90, 24000: 0x88, 32767: 0x80,
    -8: 0x7E, -100: 0x72, -1000: 0x4E, -32768: 0x00,
}  # fmt: skip


def test_the_telephone_speaks_g711() -> None:
    data = conditions.mu_law(np.array(list(CODES)) / 32768)
    at = data.index(b"data") + 8
    assert list(data[at : at + len(CODES)]) == list(CODES.values())
    decoded, rate = soundfile.read(io.BytesIO(conditions.mu_law(np.array([0, 1, -1, 16000 / 32768]))), dtype="int16")
    assert rate == 8000
    assert list(decoded) == [0, 32124, -32124, 15996]


@pytest.mark.parametrize(
    ("hz", "least_db", "most_db"),
    [(60, -99, -40), (200, -99, -15), (400, -1, 1), (1000, -1, 1), (3200, -1, 1), (3600, -99, -15), (5000, -99, -40)],
)
def test_the_telephone_passes_300_to_3400_hz(hz: float, least_db: float, most_db: float) -> None:
    heard, rate = soundfile.read(io.BytesIO(conditions.telephone(tone(hz, 1))))
    assert (rate, len(heard)) == (8000, 8000)
    inside = heard[800:-800]
    assert least_db <= db(float(np.square(inside).mean()) / 0.125 + 1e-9) <= most_db


def test_a_loud_recording_does_not_clip_on_the_line() -> None:
    square = np.sign(tone(700, 1)).astype(np.float32)  # its filtered form overshoots
    heard, _ = soundfile.read(io.BytesIO(conditions.telephone(square)))
    assert np.abs(heard).max() <= 1.0
    assert (np.abs(heard) >= 0.98).mean() < 0.05
    assert not len(soundfile.read(io.BytesIO(conditions.telephone(np.zeros(0, np.float32))))[0])


def test_conditions_go_from_clean_to_much_noise_and_each_counts_once() -> None:
    found = conditions.conditions([0, 20, 5.5, 20], telephone=True)
    assert found == (CLEAN, Condition("20 dB", 20), Condition("5.5 dB", 5.5), Condition("0 dB", 0), TELEPHONE)
    assert conditions.conditions([], telephone=False) == (CLEAN,)
