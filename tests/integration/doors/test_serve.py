"""`golem serve`: one command is a whole system, which ends with it and forgets no job, however it ends."""

import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis

from golem_chain.broker.local.embedded import start
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.settings import Settings
from tests.support.serve import Served, alive, free_port, read


@pytest.fixture
def serve(tmp_path):
    """Starts `golem serve` with a worker of fake engines; ends what still runs."""
    made = []

    def started(*args, **env):
        made.append(Served(tmp_path, *args, **env))
        return made[-1]

    yield started
    for one in made:
        one.end(signal.SIGKILL)


def pipeline(url):
    return Pipeline(Settings.read(_env_file=None, redis_url=url))


def get(url, **given):
    """As httpx.get, with time for a busy machine."""
    return httpx.get(url, timeout=60, **given)


def quiet(said):
    assert "Traceback" not in said, said
    return said


def test_it_answers_while_its_models_are_still_pulled(serve):
    served = serve(PULL_S=600)
    assert get(f"{served.url}/test/slow?s=0").json() == {"slept": 0}
    assert not served.worker_started()


def test_its_worker_runs_jobs(serve):
    served = serve()
    _, url = served.worker()
    with pipeline(url) as jobs:
        [outcome] = jobs.wait([jobs.submit(b"turn it on")], 60)
    assert outcome.state == "done"
    assert outcome.transcript.text == "turn it on"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_ends_everything_and_is_one_sentence(serve, how):
    served = serve()
    served.worker()
    assert len(served.below()) >= 4, "the command, its server, its worker and the worker's child"
    code, said = served.end(how)
    assert code == 0
    assert quiet(said).splitlines()[-1].startswith("golem: Stopped; jobs that have not ended go on")
    assert not [pid for pid in served.family if alive(pid)]


def test_a_kill_leaves_nothing_behind(serve, eventually):
    served = serve()
    served.worker()
    served.below()
    served.end(signal.SIGKILL)
    assert eventually(lambda: not [pid for pid in served.family if alive(pid)])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_that_has_not_ended_goes_on_at_the_next_start(serve, tmp_path, how):
    first = serve(GOLEM_STOP_S=0)
    _, url = first.worker()
    go_on = tmp_path / "go-on"
    with pipeline(url) as jobs:
        running, waiting = jobs.submit(f"until {go_on}".encode()), jobs.submit(b"later")
        first.until((tmp_path / "go-on.begun").exists)
    quiet(first.end(how)[1])
    go_on.touch()
    _, url = serve().worker()
    with pipeline(url) as jobs:
        found = {outcome.job: outcome.state for outcome in jobs.wait([running, waiting], 60)}
    assert found == {running: "done", waiting: "done"}


def test_a_worker_that_dies_is_started_again_and_the_job_is_run(serve, tmp_path):
    served = serve()
    first, url = served.worker()
    with pipeline(url) as jobs:
        job = jobs.submit(f"until {tmp_path}/go-on".encode())
        served.until((tmp_path / "go-on.begun").exists)
        subprocess.run(["kill", "-9", str(first)], check=True)
        served.until(lambda: "The worker stopped on signal 9 (SIGKILL)" in served.said)
        (tmp_path / "go-on").touch()
        served.worker(other_than=first)
        [outcome] = jobs.wait([job], 60)
    assert outcome.state == "done"
    assert "the next try is in 1 s" in served.said


def test_a_server_that_dies_is_started_again_with_its_jobs(serve, tmp_path):
    served = serve()
    _, url = served.worker()
    with pipeline(url) as jobs:
        running = jobs.submit(f"until {tmp_path}/go-on".encode())
        waiting = jobs.submit(b"later")
        served.until((tmp_path / "go-on.begun").exists)
        with redis.Redis.from_url(url) as client:
            subprocess.run(["kill", "-9", str(client.info("server")["process_id"])], check=True)
        served.until(lambda: "The embedded server has stopped, and is started again." in served.said)
        (tmp_path / "go-on").touch()
        found = {outcome.job: outcome.state for outcome in jobs.wait([running, waiting], 60)}
    assert found == {running: "done", waiting: "done"}
    code, said = served.end()
    assert code == 0
    quiet(said)


def test_a_pull_that_fails_is_said_and_tried_again(serve, tmp_path):
    (tmp_path / "away").touch()
    served = serve(PULL_FAILS=tmp_path / "away")
    served.until(lambda: "The models could not be pulled" in served.said)
    assert get(f"{served.url}/test/slow?s=0").status_code == 200
    (tmp_path / "away").unlink()
    served.worker()


def test_a_stop_during_a_pull_ends_the_pull(serve):
    served = serve(PULL_S=600)
    served.until(lambda: len(served.below()) >= 3)
    code, said = served.end(within_s=10)
    assert code == 0
    assert "could not be pulled" not in quiet(said)
    assert not [pid for pid in served.family if alive(pid)]


def test_a_second_server_in_the_same_folder_is_refused_in_one_sentence(serve):
    first = serve()
    second = serve(wait=False)
    code = second.process.wait(60)
    assert code == 2
    _, said = second.end()
    assert said.startswith(f"golem: Another golem serve (process {first.process.pid}) uses ")
    assert len(said.splitlines()) == 1


# -- what is refused before anything is started


def refused(serve, *args, **env):
    served = serve(*args, wait=False, **env)
    served.process.wait(60)
    code, said = served.end()
    assert code == 2, said
    assert len(said.splitlines()) == 1, said
    assert not (served.folder / "serve").exists(), "something was started"
    return said


def test_a_port_in_use_is_one_sentence(serve):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refused(serve, port=port)
    assert said == (
        f"golem: Port {port} of 127.0.0.1 is in use: stop the program that uses it, or set GOLEM_SERVE_PORT to "
        "another.\n"
    )


def test_a_port_of_wyoming_in_use_is_one_sentence(serve):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refused(serve, "--wyoming-port", str(port))
    assert f"Port {port} of 127.0.0.1 is in use" in said
    assert "GOLEM_WYOMING_PORT" in said


def test_keys_that_cannot_be_used_are_one_sentence(serve):
    assert "GOLEM_API_KEYS" in refused(serve, GOLEM_API_KEYS="me=short")
    assert "keys.toml" in refused(serve, GOLEM_API_KEYS="@keys.toml")


def test_an_address_that_others_reach_needs_keys_or_a_word(serve):
    said = refused(serve, "--address", "0.0.0.0")
    assert "set GOLEM_API_KEYS" in said
    assert "--no-auth" in said
    served = serve("--address", "0.0.0.0", "--no-auth")
    assert "No key is needed (--no-auth): everybody who can reach 0.0.0.0 can use this server." in served.said


def test_an_address_of_another_machine_is_one_sentence(serve):
    said = refused(serve, "--address", "192.0.2.1", "--no-auth")
    assert "192.0.2.1 is no address of this machine" in said


# -- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Two self-signed certificates with their keys, and an encrypted key."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("one", "two"):
        words = f"req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 2 -subj /CN=localhost"
        words += " -addext subjectAltName=IP:127.0.0.1"
        openssl(folder, words)
    openssl(folder, "rsa -aes256 -passout pass:secret -in one.key -out locked.key")
    return folder


def openssl(folder, words):
    try:
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")


def test_https_answers_with_the_certificate(serve, certificates):
    served = serve("--tls-cert", certificates / "one.pem", "--tls-key", certificates / "one.key")
    trusting = ssl.create_default_context(cafile=str(certificates / "one.pem"))
    assert served.url.startswith("https://")
    with httpx.Client(base_url=served.url, verify=trusting, timeout=60) as client:
        assert client.get("/test/slow?s=0").json() == {"slept": 0}
        assert client.get("/").content == client.get("/").content  # longer answers, on the same connection
        assert len(client.get("/openapi.json").content) > 20_000


def test_http_on_an_https_port_and_the_reverse_leave_no_trace(serve, certificates):
    served = serve("--tls-cert", certificates / "one.pem", "--tls-key", certificates / "one.key")
    with pytest.raises(httpx.HTTPError):
        get(f"http://127.0.0.1:{served.port}/")
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.sendall(b"\x16\x03\x01garbage")
    served.end()
    plain = serve()
    with pytest.raises(httpx.HTTPError):
        get(f"https://127.0.0.1:{plain.port}/")
    for one in (served, plain):
        _, said = one.end()
        assert all(line.startswith("golem: ") for line in said.splitlines()), said


@pytest.mark.parametrize(
    ("cert", "key", "why"),
    [
        ("none.pem", "one.key", "none.pem cannot be read: No such file or directory"),
        ("one.pem", "none.key", "none.key cannot be read: No such file or directory"),
        ("one.pem", "two.key", "does not belong to the certificate"),
        ("one.pem", "locked.key", "is encrypted"),
        ("one.key", "one.key", "are not a certificate and its key"),
        ("one.pem", None, "are not a certificate and its key"),
        (None, "one.key", "without a certificate"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_one_sentence(serve, certificates, cert, key, why):
    given = [("--tls-cert", cert), ("--tls-key", key)]
    said = refused(serve, *(word for flag, name in given if name for word in (flag, certificates / name)))
    assert why in said


# -- the stop


def requesting(url, **given):
    """Start a request in a thread of its own; return a function that waits for the answer."""
    pool = ThreadPoolExecutor(1)
    asked = pool.submit(lambda: get(url, **given))

    def answer():
        try:
            return asked.result(60)
        finally:
            pool.shutdown()

    return answer


def test_a_request_in_progress_is_answered_before_the_stop(serve):
    served = serve(GOLEM_STOP_S=20)
    answer = requesting(f"{served.url}/test/slow?s=2")
    time.sleep(0.5)
    code, said = served.end()
    assert answer().json() == {"slept": 2}
    assert code == 0
    quiet(said)


def test_a_request_that_takes_longer_than_the_stop_is_told_so(serve):
    served = serve(GOLEM_STOP_S=1)
    answer = requesting(f"{served.url}/test/slow?s=60")
    time.sleep(0.5)
    code, said = served.end(within_s=15)
    told = answer()
    assert told.status_code == 503
    assert told.json()["error"]["code"] == "server_stopping"
    assert told.headers["retry-after"]
    assert code == 0
    quiet(said)


def test_a_streamed_transcription_in_progress_is_heard_to_its_end(serve, tmp_path):
    served = serve(GOLEM_STOP_S=20)
    served.worker()
    go_on = tmp_path / "go-on"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            lambda: httpx.post(
                f"{served.url}/v1/audio/transcriptions",
                files={"file": f"until {go_on}".encode()},
                data={"model": "whisper-1", "stream": "true"},
                timeout=60,
            )
        )
        served.until((tmp_path / "go-on.begun").exists)
        served.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        go_on.touch()
        assert "transcript.text.done" in asked.result(60).text
    served.process.wait(30)
    code, said = served.end()
    assert code == 0
    quiet(said)


def test_streams_of_events_end_at_once_and_whole(serve):
    served = serve(GOLEM_STOP_S=30)
    answer = requesting(f"{served.url}/test/events")
    time.sleep(0.5)
    began = time.monotonic()
    code, said = served.end()
    assert answer().text.endswith("\n\n")
    assert time.monotonic() - began < 15
    assert code == 0
    quiet(said)


def test_a_client_that_sends_and_reads_nothing_does_not_hold_up_the_stop(serve):
    served = serve(GOLEM_STOP_S=1)
    lines = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(3)]
    lines[1].sendall(b"GET / HTT")
    lines[2].sendall(b"POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{")
    time.sleep(0.3)
    code, said = served.end(within_s=15)
    assert code == 0
    quiet(said)
    for line in lines:
        line.close()


def test_a_second_signal_ends_at_once(serve, eventually):
    served = serve(GOLEM_STOP_S=60)
    served.worker()
    answer = requesting(f"{served.url}/test/slow?s=50")
    time.sleep(0.5)
    served.below()
    served.process.send_signal(signal.SIGINT)
    time.sleep(0.6)
    began = time.monotonic()
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(10) == 130
    assert time.monotonic() - began < 2
    with pytest.raises(httpx.HTTPError):
        answer()
    quiet(served.end()[1])
    assert eventually(lambda: not [pid for pid in served.family if alive(pid)])


def test_an_error_that_nobody_expects_is_one_line_without_what_users_said(serve):
    served = serve()
    told = get(f"{served.url}/test/bug")
    assert told.status_code == 500
    assert told.json()["error"]["code"] == "internal_error"
    _, said = served.end()
    assert "secret words" not in quiet(said)
    [line] = [line for line in said.splitlines() if not line.startswith("golem: ")]
    assert "ValueError" in line


# -- with a running system


def test_with_a_redis_it_knows_no_model_library_and_no_celery(serve, redis_server):
    served = serve(GOLEM_REDIS_URL=redis_server.url)
    with pytest.raises(httpx.ReadTimeout):  # the job waits for a worker
        httpx.post(
            f"{served.url}/v1/audio/transcriptions", files={"file": b"x"}, data={"model": "whisper-1"}, timeout=1
        )
    modules = set(get(f"{served.url}/test/modules").json())
    assert modules & {"fastapi", "redis"} == {"fastapi", "redis"}
    assert not modules & {"torch", "numpy", "transformers", "celery"}
    assert len(served.below()) == 1, "it starts nothing"
    assert not (served.folder / "serve").exists()


def test_a_redis_that_is_away_is_waited_for(serve, tmp_path):
    port = free_port()
    served = serve(GOLEM_REDIS_URL=f"redis://127.0.0.1:{port}/0")
    served.until(lambda: f"Redis at redis://127.0.0.1:{port}/0 cannot be reached" in served.said)
    assert get(f"{served.url}/test/slow?s=0").status_code == 200
    with start(tmp_path / "late", port=port) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "")
        served.until(lambda: "answers again." in served.said)
    served.until(lambda: served.said.count("cannot be reached") == 2)  # it is away once more
    code, said = served.end()
    assert code == 0
    assert quiet(said).count("cannot be reached") == 2, "said once each time"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_requests_are_logged_on_request_without_what_they_carry(serve):
    served = serve("--log")
    get(f"{served.url}/test/slow?s=0&q=secret+words", headers={"authorization": "Bearer secret-key"})
    _, said = served.end()
    assert " GET /test/slow 200 " in said
    assert "secret" not in said


def test_wyoming_is_served_until_the_stop(serve):
    port = free_port()
    served = serve("--wyoming-port", str(port))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(b'{"type": "describe"}\n')
        assert b'"info"' in line.recv(1000)
        assert f"tcp://127.0.0.1:{port}" in served.said
        code, said = served.end()
    assert code == 0
    quiet(said)


def test_no_password_is_on_a_command_line_or_printed(serve):
    served = serve()
    _, url = served.worker()
    password = url.split(":")[2].split("@")[0]
    assert all(password.encode() not in read(f"/proc/{one}/cmdline") for one in served.below())
    assert password not in served.end()[1]
