"""What the page says when something is missing, and that it recovers by itself."""

from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import expect

from tests.support.browser import Visit, files, result
from tests.support.door import serving
from tests.support.wire import Wire


@pytest.fixture(scope="module")
def weak(make_chain):
    """A chain of its own, whose worker and server are stopped."""
    return make_chain(keep_s=120, max_deliveries=1)


def test_without_a_worker_the_page_says_what_to_run_and_goes_on_when_it_runs(browser, weak):
    with serving(weak.settings) as url:
        weak.stop_worker()
        visit = Visit(browser, url)
        notice = visit.page.get_by_role("alert").filter(has_text="No worker is running")
        expect(notice).to_contain_text("golem worker")
        visit.page.set_input_files("#files", files(patient=b"worth waiting for"))
        weak.start_worker()
        expect(result(visit.page, "patient.wav")).to_be_visible()
        expect(notice).to_be_hidden()
        visit.close()


def test_an_operator_sees_a_dead_letter_and_retries_it(browser, weak, tmp_path):
    with serving(weak.settings) as url:
        visit = Visit(browser, url)
        path = tmp_path / "cured"
        visit.page.set_input_files("#files", files(deadly=f"die without {path}".encode()))
        letters = visit.page.get_by_role("region", name="Dead letters")
        expect(letters).to_be_visible(timeout=60_000)
        expect(result(visit.page, "deadly.wav")).to_contain_text("failed")
        path.touch()
        letters.get_by_role("button", name="Retry").click()
        expect(result(visit.page, "deadly.wav")).to_contain_text("done", timeout=60_000)
        expect(letters).to_be_hidden()
        visit.close()


@pytest.fixture
def wire(door):
    """The network between the browser and the door."""
    one = Wire(f"redis://of@{urlsplit(door).netloc}/")
    yield one
    one.close()


def test_a_server_that_cannot_be_reached_is_said_and_the_page_goes_on_where_it_was(browser, door, wire):
    visit = Visit(browser, f"http://127.0.0.1:{urlsplit(wire.url).port}")
    expect(visit.page.get_by_role("status").filter(has_text="1 box")).to_be_visible()
    wire.cut()
    notice = visit.page.get_by_role("alert").filter(has_text="The server does not answer")
    expect(notice).to_be_visible()
    visit.page.set_input_files("#files", files(sent_meanwhile=b"kept by the page"))
    httpx.post(f"{door}/v1/jobs", files={"file": ("meanwhile.wav", b"missed by the stream")}).raise_for_status()
    expect(visit.page.get_by_role("list", name="Uploads")).to_contain_text("waits")
    wire.mend()
    expect(notice).to_be_hidden()
    for name in ("meanwhile.wav", "sent_meanwhile.wav"):
        expect(result(visit.page, name).first).to_be_visible()
    visit.problems = [one for one in visit.problems if "net::ERR" not in one]
    visit.close()


def test_models_that_were_never_loaded_are_said_to_load_on_demand(browser, make_chain):
    chain = make_chain(keep_s=60)
    with serving(chain.settings) as url:
        visit = Visit(browser, url)
        expect(
            visit.page.get_by_role("status").filter(has_text="Models load when the first job needs them")
        ).to_be_visible()
        visit.close()
