"""What comes in by the page, and what it shows of what comes out."""

from pathlib import Path

import httpx
from playwright.sync_api import expect

from tests.support.browser import Visit, drop, files, result
from tests.support.door import serving


def test_a_dropped_file_becomes_words_an_intent_and_a_reply(visit):
    page = visit()
    drop(page, "dropped.wav", "turn on the dropped lights")
    row = result(page, "dropped.wav")
    expect(row).to_contain_text("turn on the dropped lights")
    row.get_by_role("button").click()
    outcome = page.get_by_role("dialog", name="dropped.wav")
    for title in ("Heard", "Understood", "Answered", "What it cost"):
        expect(outcome.get_by_role("heading", name=title)).to_be_visible()
    expect(outcome).to_contain_text("turn on the dropped lights")


def test_several_files_are_of_one_group_and_go_into_the_bulk_lane(visit, door):
    page = visit()
    page.set_input_files("#files", files(first=b"one of two", second=b"two of two"))
    for name in ("first.wav", "second.wav"):
        expect(result(page, name)).to_be_visible()
    jobs = [job for job in httpx.get(f"{door}/v1/jobs").json()["jobs"] if job["name"] in ("first.wav", "second.wav")]
    assert [job["lane"] for job in jobs] == ["bulk", "bulk"]
    assert len({job["group"] for job in jobs} - {None}) == 1


def test_of_a_folder_what_cannot_be_sound_is_left_out(visit, tmp_path):
    page = visit()
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "song.wav").write_text("the song of the folder")
    (folder / "cover.jpg").write_text("no sound")
    page.set_input_files("#folder", folder)
    expect(result(page, "album/song.wav")).to_be_visible()
    expect(page.get_by_text("1 file left out")).to_be_visible()
    expect(page.get_by_text("cover.jpg")).to_have_count(0)


def test_a_text_with_its_intent_goes_to_the_oracle_alone(visit, door):
    page = visit()
    page.get_by_label("Or paste a text").fill("is it going to rain")
    page.get_by_label("The text's intent").fill("rain_forecast")
    page.get_by_role("button", name="Send text").click()
    row = result(page, "is it going to rain")
    expect(row).to_contain_text("rain_forecast")
    row.get_by_role("button").click()
    outcome = page.get_by_role("dialog")
    expect(outcome).to_contain_text("as given with the job")
    expect(outcome.get_by_role("row", name="Oracle")).to_be_visible()
    expect(outcome.get_by_role("row", name="Interpreter")).to_have_count(0)


def test_labels_of_the_form_are_those_that_the_interpreter_chooses_from(visit):
    page = visit()
    page.get_by_text("Options").click()
    page.get_by_label("Labels").fill("feed_the_cat,walk_the_dog")
    page.get_by_role("radio", name="Intent").check()
    page.set_input_files("#files", files(pets=b"please feed_the_cat now"))
    row = result(page, "pets.wav")
    expect(row).to_contain_text("feed_the_cat")
    row.get_by_role("button").click()
    outcome = page.get_by_role("dialog", name="pets.wav")
    expect(outcome).to_contain_text("walk_the_dog")
    expect(outcome.get_by_role("heading", name="Answered")).to_have_count(0)


def test_a_label_set_that_cannot_be_read_is_said_at_the_upload(visit):
    page = visit()
    page.get_by_text("Options").click()
    page.get_by_label("Labels").fill("@/etc/passwd")
    page.set_input_files("#files", files(sly=b"no"))
    expect(page.get_by_role("list", name="Uploads").get_by_role("alert")).to_contain_text(
        "There is no stored label set"
    )


def test_a_file_above_the_limit_is_refused_before_it_is_sent(browser, chain):
    with serving(chain.settings.model_copy(update={"audio_max_bytes": 1000})) as url:
        visit = Visit(browser, url)
        expect(visit.page.get_by_role("status").filter(has_text="box")).to_be_visible()
        visit.page.set_input_files("#files", files(large=b"x" * 1001))
        expect(visit.page.get_by_role("alert").filter(has_text="takes files of up to 1.0 kB")).to_be_visible()
        assert not any(asked.endswith("/v1/jobs") for asked in visit.asked)
        visit.close()


def test_a_failed_job_says_what_to_do(visit):
    page = visit()
    page.set_input_files("#files", files(broken=b"bad"))
    row = result(page, "broken.wav")
    expect(row).to_contain_text("failed")
    expect(row).to_contain_text("broken.wav is not audio.")
    row.get_by_role("button").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("broken.wav is not audio.")


def test_what_was_said_is_never_markup(visit):
    page = visit()
    words = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    page.set_input_files("#files", files(**{"<b>hostile": words.encode()}))
    row = result(page, "hostile")
    expect(row).to_contain_text(words)
    row.get_by_role("button").click()
    expect(page.get_by_role("dialog").get_by_role("group", name="Words")).to_have_text(f"0:00 {words}")
    assert page.locator("#outcome img, #outcome script, #results img, #results b").count() == 0


def test_results_are_downloaded_with_names_of_their_own(visit):
    page = visit()
    page.set_input_files("#files", files(download=b"words to be kept"))
    result(page, "download.wav").get_by_role("button").click()
    for ending, text in (("TXT", "words to be kept"), ("SRT", "00:00:01,000"), ("VTT", "WEBVTT"), ("JSON", '"done"')):
        with page.expect_download() as told:
            page.get_by_role("button", name=ending, exact=True).click()
        assert told.value.suggested_filename == f"download.{ending.lower()}"
        assert text in Path(told.value.path()).read_text()
