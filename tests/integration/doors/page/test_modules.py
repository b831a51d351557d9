"""The page's modules by themselves, in the browser that runs them."""

import json

import pytest
from playwright.sync_api import expect

from tests.support.browser import result
from tests.support.sounds import hum


@pytest.fixture
def ask(visit):
    """Evaluates `expression` with the exports of a module as `m`."""
    page = visit()

    def evaluate(module, expression):
        return page.evaluate(
            f"async () => {{ const m = await import('/static/js/{module}.js'); return {expression}; }}"
        )

    return evaluate


def event(kind, stage, at, **more):
    return {"kind": kind, "stage": stage, "at": at, "seconds": 0.1, "weights_bytes": 5, "box": "a"} | more


LOAD, RAN = event("load", "scribe", 10, reason="wanted"), event("batch", "scribe", 12, seconds=1, compute_s=0.5, size=3)
LEFT, NEXT = event("unload", "scribe", 13, reason="evicted"), event("load", "oracle", 14, reason="wanted")


def test_a_stay_lasts_from_a_load_to_the_unload_or_until_now(ask):
    told = ask("card/turns", f"m.stays({json.dumps([LOAD, RAN, LEFT, NEXT])}, ['oracle'])")
    assert [(one["stage"], one["from"], one["to"]) for one in told] == [("scribe", 10, 12.9), ("oracle", 14, None)]


def test_a_model_that_was_loaded_before_all_events_stays_too(ask):
    told = ask("card/turns", "m.stays([], ['scribe']).map((one) => [one.stage, one.from === -Infinity, one.to])")
    assert told == [["scribe", True, None]]


def test_a_switch_is_an_unload_and_the_load_of_another_model(ask):
    assert ask("card/turns", f"m.switches({json.dumps([LOAD, LEFT, NEXT])}).count") == 1
    assert ask("card/turns", f"m.switches({json.dumps([LOAD, LEFT, LOAD])}).count") == 0
    assert ask("card/turns", f"m.switches({json.dumps([LOAD, NEXT])}).count") == 0


def test_a_batch_computes_in_the_last_part_of_its_time(ask):
    one = ask("card/turns", f"m.batches({json.dumps([RAN])})[0]")
    assert (one["from"], one["computed"], one["to"], one["size"]) == (11, 11.5, 12, 3)


def test_a_box_that_reports_no_longer_is_shown_while_its_events_are(ask):
    assert ask("card/turns", f"m.boxesOf({{boxes: {{b: {{}}}}}}, {json.dumps([LOAD, RAN])})") == ["a", "b"]
    assert ask("card/turns", "m.boxesOf(null, [])") == []


def test_events_are_kept_in_order_and_for_fifteen_minutes(ask):
    told = ask("card/turns", f"{json.dumps([NEXT, LOAD, RAN])}.reduce((all, one) => m.remember(all, one, 20), [])")
    assert [one["at"] for one in told] == [10, 12, 14]
    late = json.dumps(event("load", "oracle", 2000))
    assert ask("card/turns", f"m.remember({json.dumps([LOAD, RAN])}, {late}, 2000).length") == 1


def test_a_flood_of_events_is_bounded_and_taken_in_a_second(ask):
    took_ms, kept = ask(
        "card/turns",
        """(() => { const events = [], began = performance.now();
            for (let n = 0; n < 50000; n += 1) m.remember(events, { at: n / 100 }, n / 100);
            return [performance.now() - began, events.length]; })()""",
    )
    assert kept == 4000
    assert took_ms < 5_000, "quadratic time would be minutes"


@pytest.mark.parametrize("ending", [r"\n", r"\r\n"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_events_of_a_stream_are_read_however_it_is_cut(ask, ending, size):
    text = r"id: 7\nevent: job\ndata: {\"a\":1}\n\n: alive\n\ndata: two\ndata: lines\n\n".replace(r"\n", ending)
    told = ask(
        "core/stream",
        f"""(() => {{ const found = [], read = m.lines((...one) => found.push(one)), text = "{text}";
            for (let at = 0; at < text.length; at += {size}) read(text.slice(at, at + {size})); return found; }})()""",
    )
    assert told == [["job", '{"a":1}', "7"], ["message", "two\nlines", None]]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("duration(0.0123)", "12 ms"),
        ("duration(2.04)", "2.0 s"),
        ("duration(99.4)", "99 s"),
        ("duration(7200)", "2 h"),
        ("age(0.3)", "now"),
        ("age(5.9)", "5 s"),
        ("age(90000)", "25 h"),
        ("bytes(999)", "999 B"),
        ("bytes(1234567)", "1.2 MB"),
        ("bytes(540e6)", "540 MB"),
        ("place(3725.9)", "1:02:05"),
        ("count(1, 'box', 'boxes')", "1 box"),
    ],
)
def test_numbers_are_written_as_people_read_them(ask, call, text):
    assert ask("core/format", f"m.{call}") == text


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("{away: 'The server does not answer.'}", "bad", "tries again by itself"),
        ("{queueAway: 'The server cannot reach its queue.'}", "bad", "Nothing that was sent is lost"),
        ("{system: null}", "wait", "Asking the server"),
        ("{system: {boxes: {}}}", "bad", "No worker is running"),
        ("{system: {boxes: {}}, ready: {models: 'pulling', sentence: 'whisper-tiny: 40 %'}}", "wait", "40 %"),
        ("{system: {boxes: {a: {loads: 0, resident: []}}, queues: {}, in_hand: 1}}", "wait", "for the first time"),
        ("{system: {boxes: {a: {loads: 0, resident: []}}, queues: {}, in_hand: 0}}", "ok", "when the first job needs"),
        ("{system: {boxes: {a: {loads: 2}, b: {loads: 1}}, queues: {}, in_hand: 0}}", "ok", "2 boxes ready"),
    ],
)
def test_the_state_of_the_system_is_one_sentence(ask, state, kind, words):
    told = ask("out/system", f"m.told({state})")
    assert told["kind"] == kind
    assert words in told["text"]


def test_a_click_on_a_word_plays_its_place(visit, eventually):
    """The outcome of a text job is answered with words at their times, and three seconds of noise stand for them."""
    page = visit()
    page.get_by_label("Or paste a text").fill("words at their times")
    page.get_by_role("button", name="Send text").click()
    words = [
        {"word": f" {word}", "start_s": at, "end_s": at + 0.5, "prob": 0.9} for word, at in (("one", 0.5), ("two", 2))
    ]
    segment = {"start_s": 0, "end_s": 3, "text": "one two", "words": words}
    heard = {"text": "one two", "segments": [segment], "duration_s": 3.0, "speech_s": 1.0, "guards": ["vad"]}

    def answer(route):
        told = route.fetch().json()
        told["outcome"]["transcript"] = told["transcript"] = heard
        route.fulfill(json=told)

    expect(result(page, "words at their times")).to_be_visible()
    page.route("**/v1/jobs/*", answer)
    result(page, "words at their times").get_by_role("button").click()
    outcome = page.get_by_role("dialog")
    expect(outcome.get_by_text("This tab does not hold the recording")).to_be_visible()
    expect(outcome.get_by_text("no voice was found")).to_be_visible()
    outcome.get_by_label("The recording of this job").set_input_files(
        [{"name": "noise.wav", "mimeType": "audio/wav", "buffer": hum(3.0)}]
    )
    audio = outcome.locator("audio")
    expect(audio).to_be_visible()
    expect(outcome.locator(".wave")).to_be_visible()
    eventually(lambda: audio.evaluate("(audio) => audio.readyState") >= 2)
    outcome.get_by_role("button", name="two").click()
    eventually(lambda: audio.evaluate("(audio) => audio.currentTime") >= 2)
    assert audio.evaluate("(audio) => audio.currentTime") < 3.1
    outcome.get_by_role("button", name="one").press("ArrowRight")
    expect(outcome.get_by_role("button", name="two")).to_be_focused()
