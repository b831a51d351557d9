"""What `golem bench chain` makes of its measurements, without a worker."""

import json

import pytest
from typer.testing import CliRunner

from golem_chain.benchmarks.__main__ import app as benchmarks
from golem_chain.benchmarks.chain import targets as wanted
from golem_chain.benchmarks.chain.backlogs import Lone, Set
from golem_chain.benchmarks.chain.comparison import as_json, sets, stage_costs, tables, write
from golem_chain.benchmarks.chain.hearing import FASTER, OURS, Heard
from golem_chain.benchmarks.chain.performance import ONE_BEAM, PARTS, Findings
from golem_chain.benchmarks.chain.picture import bars
from golem_chain.benchmarks.chain.run import Run
from golem_chain.benchmarks.fleet.costs import fitted, read
from golem_chain.broker.queues import STAGES


def run(jobs, each_s, first_s=1.0):
    made = Run(jobs, wall_s=jobs * each_s, first_s=first_s, compute_s=0.9 * jobs * each_s, loads=3)
    for stage in STAGES:
        made.stages_s[stage] = 0.3 * jobs * each_s
        made.batches[stage] = [jobs]
        made.timed[stage] = [(1, 0.5 + 0.25), (jobs, 0.5 + 0.25 * jobs)]
        made.loads_s[stage] = [0.1]
        made.weights_bytes[stage] = 151_000_000
        made.models[stage] = "whisper-tiny.en@0.1.0 float32 with bfloat16 products"
    return made


def peer(each_s, jobs=10):
    stages = dict.fromkeys(STAGES, each_s * jobs / 3)
    return {
        "wall_s": each_s * jobs, "jobs_s": [each_s] * jobs, "stages_s": stages, "load_s": 1.0, "unload_s": 1.0,
        "peak_bytes": 10**9, "new_tokens": 100, "cpu_s": 1.0,
    }  # fmt: skip


@pytest.fixture
def whole():
    found = Findings("a box", "ten clips")
    found.quest = Set(
        {"reload": peer(4.0), "resident": peer(3.0)},
        {
            "default": {10: run(10, 1.0)},
            "fast": {10: run(10, 0.5), 100: run(100, 0.4)},
            ONE_BEAM: {10: run(10, 0.45)},
        },
    )
    found.bundled = Set(
        {"reload": peer(4.0), "resident": peer(3.0)},
        {"float32": {10: run(10, 1.0)}, "default": {10: run(10, 0.5), 100: run(100, 0.4, first_s=1.5)}},
        {"default": [1.0, 1.0, 1.0]},
    )
    found.samples = run(10, 0.5)
    alone = {stage: [0.7, 0.75, 0.8] for stage in STAGES}
    found.lone = {"auto": Lone([1.0], [0.0], [0.01], alone), "1": Lone([1.1], [0.08], [0.02], alone)}
    found.same = {"jobs": 10, "equal": 10}
    found.small = {100: [run(100, 0.05), run(100, 0.05)], 500: [run(500, 0.05)]}
    found.hearing = {name: Heard(0.2, 0.2, 5.0, 20.0) for name in (*FASTER, *OURS)}
    step = {"step_s": 0.01, "generate_s": 0.02, "kernels": 600}
    found.steps = {
        name: {"model": "m@1 float32", "weights_bytes": 10**8, "1": step, "16": step} for name in ("float32", "8 bit")
    }
    products = {"a": {"float32": 2.0, "bfloat16": 1.0}}
    found.processors = {"as it is": {"runs": dict.fromkeys(STAGES, "float32"), "products": products}}
    return found


def test_a_speed_up_compares_the_time_of_a_clip_whatever_the_number_of_jobs(whole):
    assert wanted.speed_up(whole.quest, "fast", 10, "reload") == pytest.approx(8.0)
    assert wanted.speed_up(whole.quest, "fast", 100, "reload") == pytest.approx(10.0)


def test_a_target_is_missed_or_met_by_what_is_shown(whole):
    shown = {target.what: target for target in wanted.targets(whole)}
    first = shown["bundled models, 100 jobs: first answer ÷ a lone job"]
    assert (first.measured, first.met) == ("1.5", True)
    lone = shown["single job, one model: ms above auto plus its loads"]
    assert (lone.measured, lone.met) == ("20", True)
    same = shown["the same with one beam, as the pipelines have, 10 jobs: speed-up over resident"]
    assert (same.measured, same.met) == ("6.7", True)
    assert not shown["Scribe, beam 1: speed-up over faster-whisper int8"].met


def test_each_part_can_be_left_out(whole):
    empty = Findings("a box", "ten clips")
    assert [table.title for table in tables(empty)] == ["Targets"]
    for name in ("quest", "bundled", "lone", "small", "hearing", "steps", "processors"):
        less = Findings("a box", "ten clips", **{name: getattr(whole, name)})
        assert all(table.rows for table in tables(less) if table.title != "Targets")


def test_the_report_is_json_and_names_what_was_left_out(whole, tmp_path):
    whole.left_out["proved"] = "this version has no proofs."
    assert json.loads(json.dumps(as_json(whole)))["bundled"]["alone_s"] == {"default": [1.0, 1.0, 1.0]}
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- chain -->\nold\n<!-- /chain -->\nafter\n")
    write(whole, page)
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert "Left out: proved, because this version has no proofs." in text
    assert (tmp_path / "figures" / "performance.png").is_file()


def test_the_costs_of_the_stages_are_written_for_the_simulation(whole, tmp_path):
    write(whole, tmp_path / "page.md")
    assert read(tmp_path / "costs.json") == stage_costs(whole)
    cost = read(tmp_path / "costs.json")["oracle"]
    assert (cost.load_s, cost.batch_s, cost.item_s, cost.megabytes) == pytest.approx((0.1, 0.5, 0.25, 151))


def test_single_jobs_tell_what_a_batch_costs_besides_its_items(whole):
    for stage in STAGES:
        whole.quest.runs["default"][10].timed[stage] = [(10, 3.0)]
    costs = stage_costs(whole)
    assert costs is not None
    cost = costs["oracle"]
    assert (cost.batch_s, cost.item_s) == pytest.approx((0.5, 0.25))


@pytest.mark.parametrize(
    ("timed", "expected"),
    [
        ([(1, 0.75), (8, 2.5)], (0.5, 0.25)),
        ([(8, 2.0), (8, 2.0)], (0.0, 0.25)),  # one size tells nothing of a constant part
        ([(1, 0.1), (8, 2.4)], (0.0, 0.3)),  # a constant part below 0 is none
    ],
)
def test_a_batch_costs_a_constant_and_a_part_for_each_item(timed, expected):
    assert fitted(timed) == pytest.approx(expected, rel=0.03)


def test_no_batches_have_no_costs():
    with pytest.raises(ValueError, match="no batches"):
        fitted([])


def test_every_bar_is_the_whole_time_of_a_clip(whole):
    lengths = {name: sum(parts.values()) for _, one in sets(whole) for name, parts in bars(one)}
    assert lengths["Golem Chain, bfloat16, 100 jobs"] == pytest.approx(0.4)
    assert lengths["pipelines, all resident"] == pytest.approx(3.0 + 0.2)


def test_the_parts_have_the_names_that_the_command_offers():
    shown = CliRunner().invoke(benchmarks, ["chain", "--help"], terminal_width=200).stdout
    assert ",".join(PARTS) in shown
