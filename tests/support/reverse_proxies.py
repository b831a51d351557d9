"""nginx and Caddy in front of a door, with the configuration that docs/how-to/serve.md gives, on free ports."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

from golem_chain.broker.local.process import die_with_parent

PAGE = Path(__file__).parents[2] / "docs/how-to/serve.md"
NAME = "golem.example"


class Proxied:
    """A proxy that runs: `https://golem.example:PORT` at 127.0.0.1."""

    def __init__(self, port, context):
        self.port, self.context = port, context
        self.origin = f"https://{NAME}:{port}"

    @contextmanager
    def client(self, address="127.0.0.1", **headers):
        """A client with an address of its own on loopback."""
        transport = httpx.HTTPTransport(verify=self.context, local_address=address)
        told = {"host": f"{NAME}:{self.port}", **headers}
        with httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}", transport=transport, headers=told, timeout=30
        ) as client:
            client.event_hooks["request"] = [lambda request: request.extensions.update(sni_hostname=NAME)]
            yield client

    def socket(self):
        """A connection on which TLS has begun."""
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.context.wrap_socket(raw, server_hostname=NAME)


def installed(program):
    """Return where a proxy or a tool is; None if it is not installed."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def documented(language):
    """Return the configuration that the documentation gives."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)
    return found


def certificate(folder):
    """Write a certificate for NAME and its key; return a context that trusts it."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", folder / "key.pem",
         "-out", folder / "chain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return ssl.create_default_context(cafile=folder / "chain.pem")


def _nginx(folder, port, door_port):
    server = (
        documented("nginx").replace("listen 443", f"listen 127.0.0.1:{port}").replace("/etc/ssl/golem", str(folder))
    )
    server = server.replace("127.0.0.1:8000", f"127.0.0.1:{door_port}")
    paths = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/proxy.log; events {{}}\n"
        f"http {{ access_log off; {paths}\n{server}}}\n"
    )
    return [installed("nginx"), "-e", str(folder / "proxy.log"), "-p", str(folder), "-c", str(config)]


def _caddy(folder, port, door_port):
    site = documented("caddy").replace("127.0.0.1:8000", f"127.0.0.1:{door_port}")
    site = site.replace(f"{NAME} {{", f"{NAME}:{port} {{\n    tls {folder}/chain.pem {folder}/key.pem", 1)
    config = folder / "Caddyfile"
    config.write_text(f"{{\n    admin off\n    auto_https off\n    default_bind 127.0.0.1\n}}\n{site}")
    return [installed("caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]


PROGRAMS = {"nginx": _nginx, "caddy": _caddy}


@contextmanager
def proxied(program, folder, door_port):
    """Run a proxy in front of a door during the block."""
    context = certificate(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = PROGRAMS[program](folder, port, door_port)
    with (folder / "proxy.out").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, preexec_fn=die_with_parent(signal.SIGKILL),
            env=os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )  # fmt: skip
    try:
        end = time.monotonic() + 30
        while True:
            told = "".join(path.read_text() for path in folder.glob("proxy.*"))
            assert process.poll() is None, told
            assert time.monotonic() < end, told
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield Proxied(port, context)
    finally:
        process.terminate()
        process.wait(20)
