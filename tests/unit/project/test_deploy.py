"""The deployment files: Compose, Dockerfile, Makefile, pins, settings page. Needs no container engine."""

import re
import shutil
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml

from tests.support.paths import ROOT

TEXT = {name: (ROOT / name).read_text() for name in ("docker-compose.yml", "Dockerfile", "Makefile", ".env.example")}
COMPOSE = yaml.safe_load(TEXT["docker-compose.yml"])
SERVICES = COMPOSE["services"]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def published():
    return [(name, port) for name, service in SERVICES.items() for port in service.get("ports", [])]


def test_every_port_is_bound_to_loopback_unless_env_says_otherwise():
    assert {name for name, _ in published()} == {"redis", "serve", "wyoming", "flower"}
    for name, port in published():
        assert re.match(r"\$\{[A-Z_]+_BIND:-127\.0\.0\.1\}:\d+:\d+$", port), (name, port)


def test_compose_refuses_to_start_without_passwords():
    used = set(re.findall(r"\$\{([A-Z_]+):\?", TEXT["docker-compose.yml"]))
    assert used == {"REDIS_PASSWORD", "GOLEM_FLOWER_AUTH", "GOLEM_API_KEYS"}
    assert not re.search(r"\$\{(REDIS_PASSWORD|GOLEM_FLOWER_AUTH|GOLEM_API_KEYS)(:-|\})", TEXT["docker-compose.yml"])


def test_redis_keeps_its_queue_and_its_password_is_on_no_command_line():
    shell = SERVICES["redis"]["command"][-1]
    assert "--appendonly yes" in shell
    assert "noeviction" in shell
    assert "$$REDIS_PASSWORD" in shell  # expanded inside the container
    assert "--requirepass" not in shell
    assert "queue:/data" in SERVICES["redis"]["volumes"]
    assert "${" not in " ".join(SERVICES["redis"]["healthcheck"]["test"])


def test_the_redis_command_writes_the_password_into_a_private_file(tmp_path):
    shell = " ".join(SERVICES["redis"]["command"][-1].split()).replace("$$", "$").replace("/tmp", str(tmp_path))
    (tmp_path / "redis-server").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$(dirname "$0")/args"\n')
    (tmp_path / "redis-server").chmod(0o700)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "REDIS_PASSWORD": "s3cret"}
    subprocess.run(["sh", "-c", shell], check=True, env=env)
    assert (tmp_path / "redis.conf").read_text() == "requirepass s3cret\n"
    assert (tmp_path / "redis.conf").stat().st_mode & 0o077 == 0
    args = (tmp_path / "args").read_text().splitlines()
    assert args[:3] == [str(tmp_path / "redis.conf"), "--appendonly", "yes"]
    assert args[args.index("--save") + 1] == ""
    assert "s3cret" not in args


@pytest.mark.parametrize(
    ("service", "card"), [("worker", "${GOLEM_GPU:-0}"), ("second-worker", "${GOLEM_SECOND_GPU:-1}")]
)
def test_each_worker_has_one_card_and_a_name_of_its_own(service, card):
    (device,) = SERVICES[service]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": [card], "capabilities": ["gpu"]}
    assert SERVICES[service]["command"][-1] == f"card-{card}"
    assert "models:/models" in SERVICES[service]["volumes"]


def test_workers_start_when_redis_answers_and_the_models_are_there():
    wanted = {"redis": {"condition": "service_healthy"}, "models": {"condition": "service_completed_successfully"}}
    assert SERVICES["worker"]["depends_on"] == wanted
    assert SERVICES["second-worker"]["depends_on"] == wanted


def test_what_golem_serve_publishes_asks_for_keys_and_wyoming_is_published_only_on_request():
    served, wyoming = SERVICES["serve"], SERVICES["wyoming"]
    assert served["environment"]["GOLEM_API_KEYS"].startswith("${GOLEM_API_KEYS:?")
    assert "--no-auth" not in served["command"]
    assert served["environment"]["GOLEM_WYOMING_PORT"] == 0
    assert "profiles" not in served
    assert wyoming["profiles"] == ["wyoming"]
    assert wyoming["environment"]["GOLEM_SERVE_ADDRESS"] == "127.0.0.1", "its HTTP is for the health check"


@pytest.mark.parametrize("service", ["serve", "wyoming"])
def test_golem_serve_can_be_started_with_what_compose_gives_it(service, monkeypatch, tmp_path):
    from golem_chain.broker.doors.lifecycle.ports import check_keys
    from golem_chain.shared.settings import Settings

    monkeypatch.chdir(tmp_path)
    given = SERVICES[service]["environment"] | {"GOLEM_API_KEYS": f"me={'0' * 64}"}
    for name, value in given.items():
        monkeypatch.setenv(name, re.sub(r"\$\{[A-Z_]+[^}]*\}", "secret", str(value)))
    settings = Settings.read()
    check_keys(settings, no_auth=False)
    assert settings.names_a_server, "it starts no system of its own"
    inside = {settings.serve_port, settings.wyoming_port}
    assert {int(port.rpartition(":")[2]) for port in SERVICES[service]["ports"]} <= inside
    grace_s = int(SERVICES[service]["stop_grace_period"].removesuffix("s"))
    assert grace_s > 2 * settings.stop_s + 5


def test_the_health_check_of_golem_serve_tells_a_server_from_none():
    kind, *words = SERVICES["serve"]["healthcheck"]["test"]
    assert (kind, words[0]) == ("CMD", "python")

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, format, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        asked = [sys.executable, *words[1:]]
        asked[-1] = asked[-1].replace("8000", str(server.server_port))
        try:
            assert subprocess.run(asked, capture_output=True).returncode == 0
            asked[-1] = asked[-1].replace("/health", "/gone")
            assert subprocess.run(asked, capture_output=True).returncode != 0
        finally:
            server.shutdown()
            thread.join()


def test_nothing_runs_with_more_rights_than_it_needs():
    assert "USER golem" in TEXT["Dockerfile"]
    assert TEXT["Dockerfile"].index("USER golem") < TEXT["Dockerfile"].index("ENTRYPOINT")
    for name, service in SERVICES.items():
        assert not service.get("privileged"), name
        assert not service.get("network_mode"), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert SERVICES["redis"]["user"] == "redis"


def test_every_variable_of_compose_is_explained_in_the_example():
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT["docker-compose.yml"]))
    explained = set(re.findall(r"^#?([A-Z_]+)=", TEXT[".env.example"], re.M))
    assert used - explained == {"GOLEM_SECOND_GPU"}  # its default is next to the first card's


def test_the_example_of_env_holds_no_password_and_can_be_read(tmp_path, monkeypatch):
    from golem_chain.shared.settings import Settings

    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    monkeypatch.chdir(tmp_path)
    settings = Settings.read()
    assert not settings.flower_auth
    assert re.search(r"^REDIS_PASSWORD=$", TEXT[".env.example"], re.M)


def test_the_dockerfile_copies_what_exists_and_installs_extras_that_exist():
    copied = [word for line in re.findall(r"^COPY (.+) \S+$", TEXT["Dockerfile"], re.M) for word in line.split()]
    packages = {"golem_chain/"} | {f"{path.name}/" for path in (ROOT / "golem_chain").iterdir() if path.is_symlink()}
    assert packages == {"golem_chain/", "shared/", "broker/", "workers/", "benchmarks/"}
    assert packages <= set(copied), "a package is left out of the image"
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name.rstrip("/") in allowed, f"{name} is kept out by .dockerignore"
    builds = {service["build"]["args"]["EXTRAS"] for service in SERVICES.values() if "build" in service}
    assert builds == {"worker", "serve", "monitor"}
    assert builds <= set(EXTRAS)
    assert "--constraint constraints.txt" in TEXT["Dockerfile"]


def test_the_containers_commands_exist():
    from golem_chain.broker.cli.main import app

    known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    for name, service in SERVICES.items():
        if name != "redis":
            assert service["command"][0] in known, name


@pytest.mark.skipif(
    not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0,
    reason="the docker compose client is not installed",
)
def test_docker_compose_accepts_the_file():
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "REDIS_PASSWORD": "x", "GOLEM_FLOWER_AUTH": "a:b"}
    env["GOLEM_API_KEYS"] = f"me={'0' * 64}"
    done = subprocess.run(
        ["docker", "compose", "--file", ROOT / "docker-compose.yml", "--profile", "*", "config", "--quiet"],
        env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# -- Makefile ----------------------------------------------------------------------------------------------------------


def test_make_help_lists_every_target():
    shown = subprocess.run(["make", "-C", ROOT, "--no-print-directory"], capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^  make (\w+)", shown.stdout, re.M))
    (names,) = re.findall(r"^\.PHONY: (.+)$", TEXT["Makefile"], re.M)
    phony = set(names.split())
    assert listed == phony
    assert listed >= {"help", "setup", "run", "test", "lint", "types", "format"}
    assert listed >= {"worker", "flower", "up", "down", "clean"}


@pytest.mark.parametrize("target", ["run", "test", "lint", "types", "format", "worker", "serve", "flower"])
def test_every_target_sets_up_what_it_needs(target):
    assert re.search(rf"^{target}: \$\(STAMP\) ## ", TEXT["Makefile"], re.M)


def test_ci_runs_what_the_readme_tells():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("make")] == ["make lint types", "make test"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == ["make lint", "make types"]


# -- pins and pages ----------------------------------------------------------------------------------------------------


def test_every_requirement_has_an_exact_pin_that_satisfies_it():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            assert "+" not in version, "a local version is no release of the index"
            pins[canonicalize_name(name)] = version
    assert pins["torch"] == "2.13.0"
    assert "golem-chain" not in pins
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"] + [one for extra in EXTRAS.values() for one in extra]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), text


def test_the_settings_page_is_what_the_code_says():
    from docs.generate import settings_page

    assert (ROOT / "docs" / "settings.md").read_text() == settings_page.page(), "run make docs"


def test_the_records_page_is_what_the_code_says():
    from docs.generate import records_page

    assert (ROOT / "docs" / "records.md").read_text() == records_page.page(), "run make docs"


# -- samples -----------------------------------------------------------------------------------------------------------


def test_the_samples_are_what_their_manifest_says():
    import json

    soundfile = pytest.importorskip("soundfile", reason="the worker extra is not installed")
    rows = [json.loads(line) for line in (ROOT / "samples" / "manifest.jsonl").read_text().splitlines()]
    assert {row["path"] for row in rows} == {path.name for path in (ROOT / "samples").glob("*.flac")}
    assert len(rows) == 10
    assert sorted(row["path"] for row in rows if not row["text"]) == ["noise.flac", "silence.flac"]
    for row in rows:
        info = soundfile.info(ROOT / "samples" / row["path"])
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert abs(info.duration - row["seconds"]) < 0.01
        assert (ROOT / "samples" / row["path"]).stat().st_size < 100_000
