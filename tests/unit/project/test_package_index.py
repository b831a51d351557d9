"""No file names the host of a package index: the source of packages is the installing user's choice."""

import os
import re
import subprocess

import pytest

from tests.support.paths import ROOT

HOSTS = re.compile(r"pyp[i]\.org|python[h]osted|npm[j]s")  # brackets, so that this file does not match itself


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")
def test_no_file_names_the_host_of_a_package_index():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    assert len(files) > 300
    for file in (file for file in files if file.is_file()):
        assert not HOSTS.search(file.read_bytes().decode(errors="replace")), file


FOUND = "Found 1 known vulnerability in 1 package"
OUT_OF_REACH = "The Python package index cannot be reached from here: run make audit on a machine that can reach it.\n"


@pytest.mark.parametrize(
    ("said", "code", "shown"),
    [
        ("No known vulnerabilities found", 0, "No known vulnerabilities found\n"),
        (FOUND, 1, f"{FOUND}\n"),
        ("ERROR:pip_audit._cli:Could not connect to the index's vulnerability feed", 1, OUT_OF_REACH),
        ("ERROR:pip_audit._cli:amqp: Dependency not found and could not be audited: amqp (5.4.2)", 1, OUT_OF_REACH),
        ("Traceback…\nrequests.exceptions.ProxyError: …", 1, OUT_OF_REACH),
    ],
)
def test_an_audit_out_of_reach_of_the_index_is_one_sentence(tmp_path, said, code, shown):
    (tmp_path / "said").write_text(f"{said}\n")
    (tmp_path / "python").write_text(f"#!/bin/sh\ncat {tmp_path / 'said'} >&2\nexit {code}\n")
    (tmp_path / "python").chmod(0o700)
    (tmp_path / "stamp").touch()
    command = ["make", "--no-print-directory", "audit", f"BIN={tmp_path}", f"STAMP={tmp_path / 'stamp'}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.stdout == shown
    assert (done.returncode != 0) == (code != 0)
