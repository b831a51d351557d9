"""Reads docker-compose.yml, and says how an engine without Compose runs a service of it. Pure but for the reading."""

import re
from typing import Any

import yaml

from tests.support.paths import ROOT

_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}")


class Unset(Exception):
    """A variable that Compose insists on is not set."""


def services():
    """Return the services by name, as they stand in the file."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def filled(value, variables):
    """Return a value of the file with its variables replaced, as Compose does it: `${A}`, `${A:-else}`, `${A:?why}`."""
    if isinstance(value, list):
        return [filled(one, variables) for one in value]
    if isinstance(value, dict):
        return {key: filled(one, variables) for key, one in value.items()}
    if not isinstance(value, str):
        return value

    def replaced(match):
        if match[0] == "$$":
            return "$"
        name, how, text = match.groups()
        if set_to := variables.get(name):
            return set_to
        if how == "?":
            raise Unset(f"{name}: {text}")
        return text or ""

    return _VARIABLE.sub(replaced, value)


def run_options(service, variables):
    """Return the options and the words after them of `run` for a service: (options, image, command).

    Left out: GPUs, health checks and restarts, which not every engine has; dependencies are the caller's.
    """
    given = filled(service, variables)
    options = []
    told = {**(variables if "env_file" in given else {}), **given.get("environment", {})}
    for name, value in told.items():
        options += ["--env", f"{name}={value}"]
    for port in given.get("ports", []):
        options += ["--publish", port]
    for volume in given.get("volumes", []):
        options += ["--volume", volume]
    for option in given.get("security_opt", []):
        options += ["--security-opt", option.replace(":", "=")]
    if "user" in given:
        options += ["--user", given["user"]]
    if given.get("init"):
        options += ["--init"]
    if "stop_grace_period" in given:
        options += ["--stop-timeout", given["stop_grace_period"].removesuffix("s")]
    return options, given["image"], given.get("command", [])


def extras(found):
    """Return {image: EXTRAS} of the images that are built."""
    return {one["image"]: one["build"]["args"]["EXTRAS"] for one in found.values() if "build" in one}
