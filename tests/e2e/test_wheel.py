"""The wheel works in an empty environment, even from a folder whose packages have the same names as ours."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PRODUCER = """
import shared, workers
from golem_chain import Pipeline, __version__

assert (shared.OWNER, workers.OWNER) == ("user", "user")
with Pipeline() as pipeline:
    job = pipeline.submit("lights-on.flac", labels="lights_on,music_stop", name=__version__)
    for outcome in pipeline.wait([job], timeout_s=120):
        print(outcome.model_dump_json())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The bin folder of an environment with only our wheel; its dependencies are found in another folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    left_out = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "__pycache__")
    shutil.copytree(ROOT, source, symlinks=True, ignore=left_out)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source]
    subprocess.run(build, check=True, capture_output=True)
    distributions = sorted((folder / "dist").iterdir())
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *distributions], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = (path for path in distributions if path.suffix == ".whl")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "-q", wheel], check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # Python searches a path added by a .pth file but does not read the .pth files in it (our editable install).
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@pytest.fixture
def crowded(tmp_path):
    """A folder with user packages that have the names of our folders, and a recording."""

    for name in ("shared", "broker", "workers", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWNER = 'user'\n")
    shutil.copy(ROOT / "samples" / "lights-on.flac", tmp_path)
    (tmp_path / "producer.py").write_text(PRODUCER)
    return tmp_path


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"GOLEM_MODELS": "bundled", **more}


def test_the_wheel_puts_one_name_of_our_own_into_site_packages(installed):
    (packages,) = (installed.parent / "lib").glob("python*/site-packages")
    ours = {path.name for path in packages.iterdir()} - {"dependencies.pth", "__pycache__"}
    assert {name for name in ours if not name.endswith(".dist-info")} == {"golem_chain"}
    assert (packages / "golem_chain" / "py.typed").exists()
    assert (packages / "golem_chain" / "shared" / "intents.toml").exists()
    assert not [path for path in packages.rglob("*") if path.is_symlink()]


def test_the_source_archive_holds_each_module_once(installed):
    import tarfile

    (archive,) = (installed.parents[1] / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = [name.partition("/")[2] for name in packed.getnames()]
    assert "golem_chain/broker/pipeline.py" in names
    assert not [name for name in names if name.startswith(("broker", "shared", "workers", "benchmarks"))]


def test_golem_is_the_one_of_the_wheel_and_says_its_version(installed, crowded):
    done = subprocess.run([installed / "python", "-c", "import golem_chain; print(golem_chain.__file__)"],
                          cwd=crowded, env=environment(), text=True, capture_output=True, check=True)  # fmt: skip
    assert Path(done.stdout.strip()).is_relative_to(installed.parent)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    done = subprocess.run([installed / "golem", "--version"],
                          cwd=crowded, env=environment(), text=True, capture_output=True, check=True)  # fmt: skip
    assert done.stdout == f"golem {version}\n"


def test_the_types_of_the_wheel_are_seen_by_a_users_mypy(installed, tmp_path):
    for name in ("batch_folder.py", "group_progress.py", "async_web_handler.py", "producer.py"):
        shutil.copy(ROOT / "samples" / name, tmp_path)
    (tmp_path / "wrong.py").write_text(
        "from golem_chain import AsyncPipeline, Pipeline, make_options\n"
        "Pipeline().submit(b'', lane='fast')\n"
        "AsyncPipeline().group(7)\n"
        "make_options(labels=7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", tmp_path / "cache",
         "--python-executable", installed / "python", "."],
        cwd=tmp_path, env=environment(), text=True, capture_output=True, timeout=280,
    )  # fmt: skip
    found = [line.partition(": error: Argument")[0] for line in done.stdout.splitlines() if ": error:" in line]
    assert found == ["wrong.py:2", "wrong.py:3", "wrong.py:4"], done.stdout


@pytest.mark.models
def test_golem_run_works_beside_packages_of_the_same_names(installed, crowded):
    done = subprocess.run([installed / "golem", "run", "--json", "lights-on.flac"],
                          cwd=crowded, env=environment(), text=True, capture_output=True, timeout=200)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["transcript"]["text"] == "Please turn on the lights in the kitchen."


@pytest.mark.models
def test_a_producer_and_a_worker_meet_beside_packages_of_the_same_names(installed, crowded, redis_server):
    env = environment(GOLEM_REDIS_URL=redis_server.url)
    with (crowded / "worker.log").open("w") as log:
        worker = subprocess.Popen(
            [installed / "golem", "worker", "--name", "wheel"], cwd=crowded, env=env, stdout=log, stderr=log
        )
    try:
        done = subprocess.run([installed / "python", "producer.py"],
                              cwd=crowded, env=env, text=True, capture_output=True, timeout=200)  # fmt: skip
    finally:
        worker.terminate()
        worker.wait(60)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["intent"]["label"] == "lights_on", (crowded / "worker.log").read_text()
