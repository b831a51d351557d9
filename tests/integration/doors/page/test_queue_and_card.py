"""The queue and the card as they change."""

from pathlib import Path

import httpx
from playwright.sync_api import expect

from tests.support.browser import files, result


def test_a_queued_job_can_be_cancelled(visit, held):
    page = visit()
    page.set_input_files("#files", files(blocker=f"until {held}".encode()))
    page.set_input_files("#files", files(unwanted=b"never heard"))
    page.get_by_role("button", name="Cancel unwanted.wav").click()
    expect(result(page, "unwanted.wav")).to_contain_text("cancelled")


def test_a_bulk_job_can_be_run_next(visit, held, eventually):
    page = visit()
    page.set_input_files("#files", files(holder=f"until {held}".encode()))
    eventually(lambda: Path(f"{held}.begun").exists())
    page.get_by_text("Options").click()
    page.get_by_label("Lane").select_option("bulk")
    page.set_input_files("#files", files(urgent=b"make it quick"))
    bulk = page.get_by_role("list", name="Bulk jobs").get_by_role("listitem")
    expect(bulk.filter(has_text="urgent.wav")).to_be_visible()
    page.get_by_role("button", name="Run urgent.wav next").click()
    expect(page.get_by_text("urgent.wav runs next.")).to_be_visible()
    held.touch()
    expect(result(page, "urgent.wav")).to_contain_text("make it quick")


def test_a_job_of_another_client_shows_without_a_reload(visit, door):
    page = visit()
    expect(page.get_by_role("status").filter(has_text="box")).to_be_visible()
    httpx.post(f"{door}/v1/jobs", files={"file": ("elsewhere.wav", b"sent by curl")}).raise_for_status()
    expect(result(page, "elsewhere.wav")).to_contain_text("sent by curl")


def test_a_switch_appears_on_the_card_as_it_happens(visit):
    page = visit()
    page.set_input_files("#files", files(switching=b"watch the models"))
    expect(result(page, "switching.wav")).to_be_visible()
    turns = page.get_by_role("list", name="Latest turns on")
    expect(turns).to_contain_text("Interpreter left")
    expect(turns).to_contain_text("Oracle came in")
    expect(turns).to_contain_text("Oracle ran 1 job")
    models = page.get_by_role("list", name="The three models").get_by_role("listitem")
    expect(models.filter(has_text="Oracle")).to_contain_text("on the card")
    expect(models.filter(has_text="Scribe")).to_contain_text("off the card")
    assert page.locator(".plot canvas").evaluate("(canvas) => canvas.width") > 500


def test_the_card_tells_which_model_lies_on_it_and_in_which_data_type(visit, door):
    page = visit()
    httpx.post(f"{door}/v1/jobs", data={"stop": "scribe"}, files={"file": ("a.wav", b"only words")}).raise_for_status()
    expect(page.locator(".resident.scribe")).to_contain_text("openai/tiny")
    expect(page.locator(".resident.scribe small")).to_have_text("float32")
