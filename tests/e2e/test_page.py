"""The page with the real models: what the microphone hears becomes words, which play where they were said."""

import pytest
import soundfile
from playwright.sync_api import expect

from golem_chain.broker.local.system import private_system
from tests.support.browser import Visit, launched, result
from tests.support.door import serving
from tests.support.paths import SAMPLES

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def door():
    """The URL of a door on a system with the bundled models."""
    with private_system([]) as system, serving(system.settings) as url:
        yield url


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A sentence as the WAV file that the browser takes for its microphone."""
    path = tmp_path_factory.mktemp("spoken") / "lights-on.wav"
    sound, rate = soundfile.read(SAMPLES / "lights-on.flac")
    soundfile.write(path, sound, rate)
    return path


def test_what_the_microphone_hears_becomes_words_that_play_where_they_were_said(door, spoken, eventually):
    switches = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={spoken}%noloop",
    )
    with launched(*switches) as browser:
        visit = Visit(browser, door)
        page = visit.page
        page.get_by_role("button", name="Record").click()
        expect(page.get_by_role("button", name="Stop and send")).to_be_visible()
        expect(page.get_by_role("meter", name="Level")).to_be_visible()
        page.wait_for_timeout(4_000)  # the sentence takes three seconds
        page.get_by_role("button", name="Stop and send").click()
        row = result(page, "recording ")
        expect(row).to_contain_text("turn on the lights", ignore_case=True, timeout=120_000)
        row.get_by_role("button").click()
        words = page.get_by_role("dialog").get_by_role("group", name="Words")
        late = words.get_by_role("button", name="kitchen")
        at_s = float(late.get_attribute("data-from") or "nan")
        assert at_s > 1
        audio = page.get_by_role("dialog").locator("audio")
        eventually(lambda: audio.evaluate("(audio) => audio.readyState") >= 2)
        late.click()
        eventually(lambda: audio.evaluate("(audio) => audio.currentTime") >= at_s)
        assert not audio.evaluate("(audio) => audio.error")
        visit.close()
