"""Builds the images, runs the services of docker-compose.yml in a real engine, and looks whether they do their work.

usage: python -m tests.containers [--no-build]

CONTAINER_ENGINE          the engine's command: `podman`, or `docker` if it is not set
CONTAINER_BUILD           the command that builds, if it is not `$CONTAINER_ENGINE build`
CONTAINER_BUILD_OPTIONS   more options for it, such as mounts of certificates
CONTAINER_RUN_OPTIONS     more options for `run`
GOLEM_MODELS              the profile; `bundled` needs the Python package index only

Each service runs with the options of the file, on a network and volumes of its own, which are removed afterwards. GPUs,
restarts and the engine's health checks are not part of it. Exits with 1 if a check fails.
"""

import argparse
import hashlib
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing

import httpx
import redis

from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.settings import Settings
from tests.containers.compose import extras, run_options, services
from tests.support.paths import ROOT, SAMPLES

ENGINE = shlex.split(os.environ.get("CONTAINER_ENGINE") or ("podman" if not shutil.which("docker") else "docker"))
BUILD = shlex.split(os.environ.get("CONTAINER_BUILD", "")) or [*ENGINE, "build"]
BUILD_OPTIONS = shlex.split(os.environ.get("CONTAINER_BUILD_OPTIONS", ""))
RUN_OPTIONS = shlex.split(os.environ.get("CONTAINER_RUN_OPTIONS", ""))
UP_S, PULL_S, STOP_S = 120.0, 1200.0, 60.0
STARTED = time.monotonic()


def say(text):
    print(f"{time.monotonic() - STARTED:6.0f} s  {text}", flush=True)


def engine(*words, check=True, timeout=UP_S):
    done = subprocess.run([*ENGINE, *words], capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        sys.exit(f"{shlex.join([*ENGINE, *words[:3]])} …: {done.stderr.strip()[-2000:]}")
    return done


def build():
    for image, extra in extras(services()).items():
        began = time.monotonic()
        done = subprocess.run(
            [*BUILD, *BUILD_OPTIONS, "--build-arg", f"EXTRAS={extra}", "--tag", image, str(ROOT)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{image} cannot be built: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        say(f"{image}: built in {time.monotonic() - began:.0f} s")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class System:
    """The containers of one run."""

    def __init__(self):
        self.mark = f"golem-test-{secrets.token_hex(3)}"
        self.key = f"gk-{secrets.token_urlsafe(24)}"
        self.ports = {name: free_port() for name in ("redis", "serve", "flower", "wyoming")}
        self.variables = {
            "REDIS_PASSWORD": secrets.token_hex(16),
            "GOLEM_FLOWER_AUTH": f"golem:{secrets.token_hex(8)}",
            "GOLEM_API_KEYS": f"tester={hashlib.sha256(self.key.encode()).hexdigest()}",
            "GOLEM_MODELS": os.environ.get("GOLEM_MODELS", "bundled"),
        }
        self.started = []

    def open(self):
        engine("network", "create", self.mark)

    def start(self, name, *, wait=False):
        options, image, command = run_options(services()[name], self.variables)
        mine = []
        for option in options:  # volumes and ports of this run only
            if option.startswith(("queue:", "models:")):
                option = f"{self.mark}-{option}"
            elif name in self.ports and option.count(":") == 2 and option.rpartition(":")[2].isdecimal():
                option = f"127.0.0.1:{self.ports[name]}:{option.rpartition(':')[2]}"
            mine.append(option)
        how = ["--rm"] if wait else ["--detach"]
        place = ["--name", f"{self.mark}-{name}", "--network", self.mark, "--network-alias", name]
        engine("run", *how, *place, *mine, *RUN_OPTIONS, image, *command, timeout=PULL_S)
        if not wait:
            self.started.append(name)

    def stop(self, name):
        """Stop a container as Compose does; return its exit code and its log."""
        engine("stop", f"{self.mark}-{name}", timeout=STOP_S + 60)
        code = int(engine("inspect", "--format", "{{.State.ExitCode}}", f"{self.mark}-{name}").stdout)
        return code, self.log(name)

    def log(self, name):
        done = engine("logs", f"{self.mark}-{name}", check=False)
        return done.stdout + done.stderr

    def close(self):
        for name in reversed(self.started):
            engine("rm", "--force", f"{self.mark}-{name}", check=False)
        engine("network", "rm", self.mark, check=False)
        for volume in ("queue", "models"):
            engine("volume", "rm", "--force", f"{self.mark}-{volume}", check=False)

    def settings(self):
        url = f"redis://:{self.variables['REDIS_PASSWORD']}@127.0.0.1:{self.ports['redis']}/0"
        return Settings.read(_env_file=None, redis_url=url)


def until(what, condition, within_s=UP_S):
    end = time.monotonic() + within_s
    while True:
        try:
            if found := condition():
                return found
        except (httpx.HTTPError, redis.RedisError, OSError):
            pass
        if time.monotonic() > end:
            sys.exit(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.2)


def check(system):
    """Run the system; yield (claim, whether it holds, what was seen)."""
    system.start("redis")
    with redis.Redis.from_url(system.settings().redis_url) as client:
        until("redis answers", client.ping)
    system.start("serve")
    http = httpx.Client(base_url=f"http://127.0.0.1:{system.ports['serve']}", timeout=120)
    until("golem serve answers", lambda: http.get("/health").status_code == 200)
    asked = {"authorization": f"Bearer {system.key}"}
    ready = http.get("/ready")
    yield "without a worker it is not ready, and says so", ready.status_code == 503, ready.json().get("sentence")
    told = http.get("/v1/models")
    yield "without a key nothing but the page is told", told.status_code == 401, f"status {told.status_code}"
    page = http.get("/")
    yield "the page is served", page.status_code == 200 and "<html" in page.text, f"{len(page.content)} bytes"
    for module in ("torch", "numpy"):
        found = engine("run", "--rm", "--entrypoint", "python", "golem-serve", "-c", f"import {module}", check=False)
        yield f"its image has no {module}", found.returncode == 1, found.stderr.strip().splitlines()[-1:]

    say("pulling the models")
    began = time.monotonic()
    system.start("models", wait=True)
    say(f"models: {time.monotonic() - began:.0f} s")
    system.start("worker")
    until("a worker is ready", lambda: http.get("/ready").status_code == 200)

    def transcribe():
        clip = {"file": ("lights-on.flac", (SAMPLES / "lights-on.flac").read_bytes())}
        return http.post("/v1/audio/transcriptions", headers=asked, files=clip, data={"model": "whisper-1"})

    first, again = transcribe(), transcribe()
    heard = first.json().get("text", "")
    yield "a recording is transcribed", first.status_code == 200 and "light" in heard.lower(), repr(heard)
    same = first.json() == again.json()
    yield "the same request finds the job that it has begun", same, first.json().get("golem", {}).get("job")

    system.start("flower")
    flower = f"http://127.0.0.1:{system.ports['flower']}/workers"
    until("Flower answers", lambda: httpx.get(flower).status_code == 401)
    user, _, password = system.variables["GOLEM_FLOWER_AUTH"].partition(":")
    seen = httpx.get(flower, auth=(user, password)).status_code
    yield "Flower wants its password", seen == 200, "401 without, 200 with it"

    system.start("wyoming")
    with closing(
        until("Wyoming answers", lambda: socket.create_connection(("127.0.0.1", system.ports["wyoming"])))
    ) as line:
        line.settimeout(30)
        line.sendall(b'{"type": "describe"}\n')
        told = line.recv(200)
    yield "Wyoming describes itself", b'"info"' in told, told[:40]

    with Pipeline(system.settings()) as pipeline:
        jobs = [pipeline.submit(path) for path in sorted(SAMPLES.glob("*.flac"))]
        code, log = system.stop("serve")
        yield "golem serve stops in time and says so", code == 0 and "Stopped" in log, f"exit code {code}"
        yield (
            "its log has no traceback and no key",
            "Traceback" not in log and system.key not in log,
            f"{len(log.splitlines())} lines",
        )
        ends = [outcome.state for outcome in pipeline.wait(jobs, 300)]
    yield "jobs go on without it", ends == ["done"] * len(jobs), f"{len(ends)} of {len(jobs)} done"
    for name in ("wyoming", "worker", "flower", "redis"):
        code, log = system.stop(name)
        fine = code in (0, 143) and (name == "flower" or "Traceback" not in log)
        yield f"{name} stops in time", fine, f"exit code {code}"


def main():
    options = argparse.ArgumentParser(description="Build and run the containers.")
    options.add_argument("--no-build", action="store_true", help="use the images that are there")
    given = options.parse_args()
    engine("version")
    if not given.no_build:
        build()
    failed = 0
    with ExitStack() as stack:
        system = System()
        stack.callback(system.close)
        system.open()
        for claim, holds, seen in check(system):
            failed += not holds
            say(f"{'ok    ' if holds else 'FAILED'}  {claim} ({seen})")
        if failed:
            for name in system.started:
                print(f"--- {name}\n{system.log(name)[-2000:]}")
    sys.exit(f"{failed} failed" if failed else 0)


if __name__ == "__main__":
    main()
