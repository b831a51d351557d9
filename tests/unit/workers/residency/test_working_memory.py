"""Expected working memory: what was measured lately, without the noise of other programs, and each card's own."""

import json
import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.workers.devices.identity import card_name
from golem_chain.workers.residency.working_memory import WINDOW, Peaks, expect


def test_expected_working_memory_comes_from_what_was_seen():
    assert expect({}, 4, 100) == 100
    assert expect({4: 50, 8: 90}, 3, 1000) == 50
    assert expect({4: 50}, 8, 10) == 100
    assert expect({4: 50}, 8, 1000) == 1000


def test_peaks_survive_a_restart_and_a_damaged_file(tmp_path):
    file = tmp_path / "peaks.json"
    Peaks(file).learn("scribe", 4, 123)
    assert Peaks(file).expect("scribe", 2, 5) == 123
    file.write_text('{"scribe": [1, 2')
    assert Peaks(file).expect("scribe", 2, 5) == 5


def test_a_batch_that_ran_out_is_doubted_until_the_restart_but_never_a_single_item(tmp_path):
    file = tmp_path / "peaks.json"
    peaks = Peaks(file)
    peaks.doubt("scribe", 4, 1000)
    peaks.doubt("scribe", 1, 1000)
    assert peaks.expect("scribe", 8, 5) == 1000
    assert peaks.expect("scribe", 3, 5) == 5
    assert Peaks(file).expect("scribe", 8, 5) == 5


@given(st.dictionaries(st.integers(1, 40), st.integers(1, 1000)), st.integers(0, 1000))
def test_a_larger_batch_is_never_expected_to_need_less_whatever_was_measured(seen, each):
    expected = [expect(seen, batch, each * batch) for batch in range(1, 50)]
    assert expected == sorted(expected)


def test_a_smaller_measurement_after_a_larger_one_breaks_no_order():
    peaks = Peaks()
    peaks.learn("scribe", 3, 25)
    peaks.learn("scribe", 7, 13)
    assert [peaks.expect("scribe", batch, 1) for batch in (1, 3, 5, 7)] == [25, 25, 25, 25]


def test_a_peak_that_does_not_come_back_is_forgotten_after_two_windows(tmp_path):
    file = tmp_path / "peaks.json"
    peaks = Peaks(file)
    peaks.learn("scribe", 4, 5000)  # with another program's memory in it
    for _ in range(WINDOW):
        peaks.learn("scribe", 4, 100)
    assert peaks.expect("scribe", 4, 1) == 5000, "one window is no proof"
    for _ in range(WINDOW):
        peaks.learn("scribe", 4, 100)
    assert peaks.expect("scribe", 4, 1) == 100
    assert Peaks(file).expect("scribe", 4, 1) == 100, "nor does it come back with a restart"


def test_a_peak_that_comes_back_once_in_a_window_is_kept():
    peaks = Peaks()
    for n in range(6 * WINDOW):
        peaks.learn("scribe", 4, 5000 if n % WINDOW == WINDOW // 2 else 100)
        assert n < WINDOW or peaks.expect("scribe", 4, 1) == 5000


def test_two_cards_that_share_a_store_keep_their_own_measurements(tmp_path):
    file = tmp_path / "peaks.json"
    small, large = Peaks(file, "RTX 3050 GPU-1"), Peaks(file, "RTX 4090 GPU-2")
    small.learn("scribe on cuda:0", 4, 100)
    large.learn("scribe on cuda:0", 4, 900)
    small.learn("scribe on cuda:0", 8, 200)
    assert Peaks(file, "RTX 3050 GPU-1").expect("scribe on cuda:0", 4, 1) == 100
    assert Peaks(file, "RTX 3050 GPU-1").expect("scribe on cuda:0", 8, 1) == 200
    assert Peaks(file, "RTX 4090 GPU-2").expect("scribe on cuda:0", 4, 1) == 900


def test_workers_that_write_at_the_same_time_lose_no_entry_of_each_other(tmp_path):
    file, stages = tmp_path / "peaks.json", ("scribe", "interpreter", "oracle")

    def learn(stage: str) -> None:
        peaks = Peaks(file)
        for size in range(1, 60):
            peaks.learn(stage, size, 1000 * size)
        end = time.monotonic() + 30
        while peaks._written.get(stage) != peaks._seen(stage) and time.monotonic() < end:
            peaks._store(stage)  # the lock was busy: the next measurement would try again

    workers = [threading.Thread(target=learn, args=(stage,)) for stage in stages]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {stage: len(sizes) for stage, sizes in json.loads(file.read_text()).items()} == dict.fromkeys(stages, 59)


def test_a_measurement_that_changes_little_writes_nothing(tmp_path):
    file = tmp_path / "peaks.json"
    peaks = Peaks(file)
    peaks.learn("scribe", 4, 1000)
    before = file.stat().st_mtime_ns, file.stat().st_ino
    peaks.learn("scribe", 4, 1010)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


@pytest.mark.parametrize("text", ['{"scribe": {"0": 7}}', '{"scribe": {"4": -1}}', "[]", '{"scribe": {"4": 1e999}}'])
def test_a_file_that_a_stranger_wrote_counts_as_missing(tmp_path, text):
    file = tmp_path / "peaks.json"
    file.write_text(text)
    assert Peaks(file).expect("scribe", 9, 5) == 5


def test_a_folder_that_cannot_be_written_only_loses_the_measurements(tmp_path):
    (tmp_path / "store").write_text("a file where a folder should be")
    peaks = Peaks(tmp_path / "store" / "peaks.json")
    peaks.learn("scribe", 4, 100)
    assert peaks.expect("scribe", 4, 1) == 100


class Properties:
    name, uuid = "Orin", "0123"


def test_a_card_is_named_by_its_model_and_its_own_number_and_a_cpu_not_at_all(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    assert card_name(torch.device("cuda", 0)) == "Orin GPU-0123"
    assert card_name(torch.device("cpu")) == ""
