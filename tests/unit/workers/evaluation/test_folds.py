"""Cross-validation over speakers, without a model."""

from pathlib import Path

from golem_chain.workers.evaluation.datasets import read_clips
from golem_chain.workers.evaluation.folds import cross_validated, interval


def test_a_clip_never_counts_under_limits_chosen_on_its_speaker() -> None:
    speakers = ["a"] * 3 + ["b"] * 3
    right = {(1.0, 1.0): [True] * 3 + [False] * 3, (2.0, 2.0): [False] * 3 + [True] * 3}
    found, chosen = cross_validated(right, speakers, folds=2, seed=0)
    assert found == [False] * 6, "what is best on one speaker is wrong for the other"
    assert sorted(chosen) == sorted(right)


def test_of_equally_good_limits_the_middle_ones_count() -> None:
    right = {(floor, 1.0): [True, True] for floor in (1.0, 2.0, 3.0)}
    assert cross_validated(right, ["a", "b"], folds=2, seed=3) == ([True, True], [(2.0, 1.0)] * 2)


def test_the_interval_is_wider_where_few_speakers_gave_the_clips() -> None:
    right = [1.0] * 30 + [0.0] * 10
    many = interval(right, [str(number) for number in range(40)])
    few = interval(right, [str(number // 10) for number in range(40)])
    assert few[0] < many[0] < 0.75 < many[1] < few[1]


def test_no_error_among_few_clips_proves_little() -> None:
    assert interval([1.0] * 5, list("abcde")) == (0.5655, 1.0)
    assert interval([1.0] * 172, [str(number) for number in range(172)]) == (0.9782, 1.0)


def test_a_speaker_is_named_by_the_manifest_or_by_the_file(tmp_path: Path) -> None:
    rows = ['{"path": "a_nohash_0.wav", "text": "x"}', '{"path": "b.wav", "text": "x", "speaker": "c"}']
    (tmp_path / "manifest.jsonl").write_text("\n".join(rows))
    for name in ("a_nohash_0.wav", "b.wav"):
        (tmp_path / name).touch()
    assert [clip.speaker for clip in read_clips([tmp_path])] == ["a", "c"]
