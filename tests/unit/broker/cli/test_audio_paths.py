"""Arguments of the command line become audio files or a one-sentence error."""

import io
import os

import pytest

from golem_chain.broker.cli.arguments.audio_paths import expand
from golem_chain.broker.local.system import roots
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.text import storable, visible

EMPTY = io.BytesIO()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.wav", "a.FLAC", "notes.txt", "deep/er/c.mp3", "deep/.hidden.wav", ".secret/d.wav", "[x].wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_files_stay_as_they_were_typed_and_in_that_order(here):
    assert expand(["./b.wav", "a.FLAC", str(here / "b.wav")], EMPTY) == ["./b.wav", "a.FLAC", str(here / "b.wav")]


def test_a_file_that_is_named_may_be_called_anything(here):
    assert expand(["notes.txt"], EMPTY) == ["notes.txt"]


def test_a_folder_gives_the_audio_below_it_and_nothing_hidden(here):
    assert expand(["."], EMPTY) == ["./[x].wav", "./a.FLAC", "./b.wav", "./deep/er/c.mp3"]


def test_a_pattern_is_expanded_where_the_shell_did_not(here):
    assert expand(["*.wav"], EMPTY) == ["[x].wav", "b.wav"]
    assert expand(["**/*.mp3"], EMPTY) == ["deep/er/c.mp3"]


def test_an_existing_name_with_pattern_characters_is_a_name(here):
    assert expand(["[x].wav"], EMPTY) == ["[x].wav"]


def test_a_file_named_twice_is_meant_twice(here):
    assert expand(["b.wav", "b.wav"], EMPTY) == ["b.wav", "b.wav"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_list_on_stdin_holds_one_path_a_line(here, end):
    assert expand(["-"], io.BytesIO(b"b.wav" + end + b"deep" + end)) == ["b.wav", "deep/er/c.mp3"]


def test_a_list_ended_by_nul_may_hold_names_with_newlines(here):
    (here / "two\nlines.wav").write_bytes(b"x")
    assert expand(["-"], io.BytesIO(b"two\nlines.wav\0")) == ["two\nlines.wav"]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["gone.wav"], "No such file: gone.wav"),
        (["b.wav", "gone.wav"], "No such file: gone.wav"),
        (["no*.wav"], "No audio file matches the pattern no*.wav"),
        ([".secret/none/"], "No such file"),
        ([""], "(an empty name)"),
        (["-"], "list on standard input is empty"),
        (["-", "-"], "given twice"),
        (["b.wav/x"], "Not a directory"),
        (["x" * 5000], "File name too long"),
        (["a\0b"], r"a\x00b"),
        (["bad\x1b[31m\n.wav"], r"bad\x1b[31m\n.wav"),
    ],
)
def test_what_names_no_file_is_told_in_one_sentence(here, typed, sentence):
    with pytest.raises(BadRequest) as told:
        expand(typed, io.BytesIO())
    assert sentence in told.value.message
    assert "\n" not in told.value.message
    assert told.value.message.endswith(".")


def test_a_folder_without_audio_is_told(here):
    (here / "empty").mkdir()
    with pytest.raises(BadRequest, match="No audio files in the folder empty"):
        expand(["empty"], EMPTY)


def test_a_pipe_is_refused_without_being_opened(here):
    os.mkfifo(here / "pipe")
    with pytest.raises(BadRequest, match="neither a file nor a folder"):
        expand(["pipe"], EMPTY)


def test_links_to_folders_in_a_circle_end(here):
    (here / "deep" / "up").symlink_to(here)
    assert expand(["deep"], EMPTY) == ["deep/er/c.mp3"]


# -- what the private worker may read -------------------------------------------------------------------------------


def test_the_worker_of_a_run_may_read_the_files_folders_and_no_others(here):
    files = expand(["b.wav", "deep"], EMPTY)
    assert roots(files) == (here.resolve(),)
    assert roots(["deep/er/c.mp3"]) == ((here / "deep" / "er").resolve(),)


def test_links_are_resolved_before_the_folder_is_allowed(here, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "real.wav").write_bytes(b"x")
    (here / "link.wav").symlink_to(elsewhere / "real.wav")
    assert roots(["link.wav"]) == (elsewhere.resolve(),)


def test_a_folder_that_would_break_the_list_of_folders_is_left_to_the_vault(here):
    (here / "a:b").mkdir()
    (here / "a:b" / "x.wav").write_bytes(b"x")
    assert roots(["a:b/x.wav"]) == ()


def test_thousands_of_folders_still_fit_into_an_environment_variable(tmp_path):
    # The folders are not read, so they need not exist.
    allowed = roots([str(tmp_path / f"{n:05d}" / ("d" * 100) / "x.wav") for n in range(3000)])
    assert 0 < sum(len(str(path)) + 1 for path in allowed) < 131_072


# -- text from outside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.wav", "plain name.wav"),
        ("größe 音.wav", "größe 音.wav"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[2J", r"\x1b[2J"),
        ("gpj\u202e.exe", r"gpj\u202e.exe"),
        ("line\u2028end", r"line\u2028end"),
        (os.fsdecode(b"\xff.wav"), r"\udcff.wav"),
    ],
)
def test_what_could_act_on_a_terminal_is_shown_instead(text, shown):
    assert visible(text) == shown


def test_a_long_name_keeps_its_start_and_its_end():
    cut = visible("start" + "x" * 4000 + "end.wav", 20)
    assert len(cut) == 20
    assert cut.startswith("start")
    assert cut.endswith("end.wav")


def test_bytes_that_are_no_text_can_be_stored():
    assert storable(os.fsdecode(b"a\xff.wav")) == r"a\xff.wav"
    assert storable("größe") == "größe"
