"""Keys and the policy: what the page does with a key, and what a browser does not let it do."""

import httpx
import pytest
from playwright.sync_api import Error, expect

from golem_chain.broker.doors.access import keys
from golem_chain.broker.doors.access.keys import Key
from tests.support.browser import Visit, files, result
from tests.support.door import serving


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A file of keys, and the keys of alice and bob in the clear."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    made = {name: keys.make() for name in ("alice", "bob")}
    for name, key in made.items():
        keys.add(path, Key(name=name, sha256=keys.hash_of(key)))
    return path, made


@pytest.fixture(scope="module")
def locked(chain, given):
    """The URL of a door with keys."""
    with serving(chain.settings.model_copy(update={"api_keys": f"@{given[0]}"})) as url:
        yield url


def enter(page, key):
    """Type a key into the question for one."""
    page.get_by_label("Key of this server").fill(key)
    page.keyboard.press("Enter")


def test_a_wrong_key_is_said_and_a_right_one_lets_in(visit, locked, given):
    page = visit(locked)
    question = page.get_by_role("dialog", name="Key")
    expect(question).to_contain_text("asks for a key")
    enter(page, "ключ 🔑")
    expect(question).to_contain_text("That is no key")
    enter(page, "gk_wrong")
    expect(question).to_contain_text("not valid")
    page.keyboard.press("Escape")
    expect(question).to_be_visible()
    enter(page, given[1]["alice"])
    expect(question).to_be_hidden()
    expect(page.get_by_text("key alice")).to_be_visible()


def test_a_key_stands_in_no_url_and_is_gone_with_its_tab(browser, locked, given):
    visit = Visit(browser, locked)
    enter(visit.page, given[1]["alice"])
    visit.page.set_input_files("#files", files(secret=b"of alice"))
    expect(result(visit.page, "secret.wav")).to_be_visible()
    assert [url for url in [visit.page.url, *visit.asked] if given[1]["alice"] in url] == []
    other = visit.context.new_page()
    other.goto(locked)
    expect(other.get_by_role("dialog", name="Key")).to_be_visible()
    visit.close()


def test_a_key_sees_its_own_jobs_only(visit, locked, given):
    auth = {"authorization": f"Bearer {given[1]['alice']}"}
    httpx.post(f"{locked}/v1/jobs", files={"file": ("hers.wav", b"for alice")}, headers=auth).raise_for_status()
    alice, bob = visit(locked), visit(locked)
    enter(alice, given[1]["alice"])
    expect(result(alice, "hers.wav")).to_be_visible()
    enter(bob, given[1]["bob"])
    bob.set_input_files("#files", files(his=b"for bob"))
    expect(result(bob, "his.wav")).to_be_visible()
    expect(bob.get_by_text("hers.wav")).to_have_count(0)
    expect(alice.get_by_text("his.wav")).to_have_count(0)


def test_no_key_is_needed_to_fetch_the_page(locked):
    assert httpx.get(locked).status_code == 200
    assert httpx.get(f"{locked}/static/js/main.js").headers["content-type"].startswith("text/javascript")


def test_a_browser_that_has_a_file_gets_it_no_second_time(door):
    first = httpx.get(f"{door}/static/js/main.js")
    again = httpx.get(f"{door}/static/js/main.js", headers={"if-none-match": first.headers["etag"]})
    assert (first.headers["content-encoding"], again.status_code, again.content) == ("gzip", 304, b"")


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/routes.py", "/static/js", "/static/nothing.js"])
def test_no_other_file_is_served(door, path):
    assert httpx.get(f"{door}{path}").status_code in (400, 404)


def test_neither_an_inline_script_nor_markup_from_a_string_gets_through(browser, door):
    visit = Visit(browser, door)
    for attack in (
        "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.evil = 1' }))",
        "document.body.innerHTML = '<b>evil</b>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>evil</b>')",
        "setTimeout('window.evil = 1')",
        "document.body.setAttribute('onclick', 'window.evil = 1')",
        "Object.assign(document.createElement('script'), { src: 'https://elsewhere.example/' })",
    ):
        with pytest.raises(Error, match=r"TrustedScript|TrustedHTML|markup"):
            visit.page.evaluate(attack)
    assert visit.page.evaluate("window.evil") is None
    assert all("Trusted" in problem or "Content Security Policy" in problem for problem in visit.problems)
    visit.problems.clear()
    visit.close()


def test_neither_an_inline_style_nor_a_picture_from_elsewhere_gets_through(browser, door, eventually):
    visit = Visit(browser, door)
    visit.page.evaluate(
        """() => {
            const style = Object.assign(document.createElement("style"), { textContent: "main { display: none }" });
            const picture = Object.assign(new Image(), { src: "https://elsewhere.example/picture.png" });
            document.body.append(style, picture);
        }"""
    )
    eventually(lambda: len(visit.problems) >= 2 or visit.page.wait_for_timeout(10))
    assert all("Content Security Policy" in problem for problem in visit.problems), visit.problems
    expect(visit.page.locator("main")).to_be_visible()
    visit.problems.clear()
    visit.asked.clear()  # what was refused counts as asked
    visit.close()


def test_without_https_the_page_says_why_it_cannot_record(browser, chain):
    settings = chain.settings.model_copy(update={"serve_hosts": ("voice.example",)})
    with serving(settings) as url:
        visit = Visit(browser, url.replace("127.0.0.1", "voice.example"))
        expect(visit.page.get_by_text("Browsers give the microphone to pages over HTTPS")).to_be_visible()
        expect(visit.page.get_by_role("button", name="Record")).to_be_disabled()
        visit.page.set_input_files("#files", files(anyway=b"files can be dropped"))
        expect(result(visit.page, "anyway.wav")).to_be_visible()
        visit.close()
