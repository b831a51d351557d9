"""What is found in a watched folder, and what is not."""

import os
from pathlib import Path

import pytest

from golem_chain.broker.watching.tree import Tree
from golem_chain.shared.errors import BadRequest


@pytest.fixture
def told():
    return []


@pytest.fixture
def make(tmp_path, told):
    folder = tmp_path / "in"
    folder.mkdir()

    def tree(*files, out=None):
        for file in files:
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return Tree(folder, out, told.append)

    return tree


def names(tree):
    return [file for file, _ in tree.scan()]


def test_all_audio_below_is_found_by_name(make):
    odd = os.fsdecode(b"n\xff.wav")
    tree = make("b.wav", "a.mp3", "sub/c.flac", ".hidden/d.wav", ".e.wav", "f.txt", "two\nlines.wav", odd)
    assert sorted(names(tree)) == sorted(["a.mp3", "b.wav", "sub/c.flac", "two\nlines.wav", odd])
    assert dict(tree.scan())["a.mp3"].size_bytes == 1
    assert tree.name("a.mp3") == str(tree.folder / "a.mp3")


def test_results_inside_the_folder_are_not_audio(make, tmp_path):
    tree = make("a.wav", "out/b.wav", "outer/c.wav", out=tmp_path / "in" / "out")
    assert names(tree) == ["a.wav", "outer/c.wav"]
    assert list(tree.look(str(tree.root / "out" / "b.wav"))) == []
    assert names(make(out=tmp_path / "in")) == ["a.wav", "out/b.wav", "outer/c.wav"], "beside the audio"


def test_links_to_outside_are_skipped_and_said_once(make, tmp_path, told):
    (tmp_path / "secret.wav").write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "e.wav").write_bytes(b"x")
    tree = make("a.wav")
    (tree.folder / "link.wav").symlink_to(tmp_path / "secret.wav")
    (tree.folder / "inside.wav").symlink_to("a.wav")
    (tree.folder / "nowhere.wav").symlink_to("gone.wav")
    (tree.folder / "circle.wav").symlink_to("circle.wav")
    (tree.folder / "folder").symlink_to(tmp_path / "elsewhere")
    (tree.folder / "loop").symlink_to(tree.folder)
    for _ in range(2):
        assert names(tree) == ["a.wav", "inside.wav"]
    assert list(tree.look(str(tree.root / "folder" / "e.wav"))) == []
    assert list(tree.look(str(tree.root / "loop" / "a.wav"))) == [], "it is found under its own name"
    assert list(tree.look(str(tree.root / "link.wav"))) == [("link.wav", None)]
    [sentence] = told
    assert sentence == f"{tree.folder}/link.wav is a link to outside the folder: it is skipped."


def test_a_link_that_stands_for_the_folder_is_followed(make, tmp_path, told):
    make("a.wav")
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    tree = Tree(tmp_path / "alias", None, told.append)
    assert names(tree) == ["a.wav"]
    assert tree.root == (tmp_path / "in").resolve()
    assert tree.name("a.wav").endswith("alias/a.wav")


def test_a_change_is_a_file_a_folder_or_nothing_of_ours(make):
    tree = make("a.wav", "new/b.wav", "new/c.txt", ".git/d.wav")
    look = [
        file
        for path in ("a.wav", "new", "new/c.txt", ".git", "gone.wav")
        for file, _ in tree.look(str(tree.root / path))
    ]
    assert look == ["a.wav", "new/b.wav", "gone.wav"]
    assert list(tree.look(str(tree.root / "gone.wav"))) == [("gone.wav", None)]
    assert list(tree.look("/etc/passwd.wav")) == []


def test_a_pipe_with_the_name_of_audio_is_no_audio(make):
    tree = make()
    os.mkfifo(tree.folder / "pipe.wav")
    assert names(tree) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_said(make, told):
    tree = make("a.wav", "closed/b.wav")
    (tree.folder / "closed").chmod(0)
    assert names(tree) == ["a.wav"]
    assert "cannot be read (Permission denied): it is skipped" in told[0]
    (tree.folder / "closed").chmod(0o700)


def test_a_folder_that_took_the_place_of_the_watched_one_is_another(make):
    tree = make()
    before = tree.identity()
    tree.folder.rename(tree.folder.with_name("moved"))
    assert tree.identity() is None
    tree.folder.write_bytes(b"now a file")
    assert tree.identity() is None
    tree.folder.unlink()
    tree.folder.mkdir()
    assert tree.identity() not in (None, before)


def test_what_is_no_folder_is_one_sentence(tmp_path, told):
    for folder in (tmp_path / "gone", Path(__file__)):
        with pytest.raises(BadRequest, match=r"There is no folder .+: name one to watch"):
            Tree(folder, None, told.append)
