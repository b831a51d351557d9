"""Asks once which device a worker will use, in a process of its own: what has touched CUDA cannot fork children that
use it. A card that is missing, unsupported or broken is then known before the first job."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

from golem_chain.shared.errors import DeviceRefused
from golem_chain.workers.devices.card import Card, driver_loaded

#: Importing torch and the first computation take seconds; a card that has hung never answers.
_ANSWER_S = 120.0


@dataclass(frozen=True)
class Found:
    """The device that models will run on."""

    device: str  # `cpu`, or as in `cuda:0`
    card: Card | None = None
    warning: str = ""  # as in `selection.Choice`


#: What was asked before, by GOLEM_DEVICE: a device does not change while a worker lives.
_known: dict[str, Found] = {}


def ask(wanted: str) -> Found:
    """The device for GOLEM_DEVICE=`wanted`. Raises DeviceRefused if it does not exist, cannot be used or does not
    compute. The answer is kept."""
    if wanted not in _known:
        found = _ask(wanted)
        _known[wanted] = _known[found.device] = found
    return _known[wanted]


def _ask(wanted: str) -> Found:
    if wanted == "cpu" or (wanted == "auto" and not driver_loaded()):
        return Found("cpu")
    command = [sys.executable, "-m", "golem_chain.workers.devices.probe", wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceRefused(
            f"GOLEM_DEVICE={wanted}: the device has not answered for {_ANSWER_S:g} s; look for the driver's messages "
            "in dmesg, or set GOLEM_DEVICE=cpu."
        ) from None
    return read(wanted, done.stdout, done.returncode)


def read(wanted: str, told: str, code: int) -> Found:
    """The answer of the process. Raises DeviceRefused if it is a refusal, or if the process crashed. Pure."""
    try:
        answer = json.loads(told.splitlines()[-1])
    except (ValueError, IndexError):
        raise DeviceRefused(
            f"GOLEM_DEVICE={wanted}: a process that used the device ended with code {code} and no answer; look for the "
            "driver's messages in dmesg, or set GOLEM_DEVICE=cpu."
        ) from None
    if refusal := answer.get("refused"):
        raise DeviceRefused(refusal)
    card = answer["card"]
    if card is not None:
        card = Card(**{**card, "capability": tuple(card["capability"])})
    return Found(answer["device"], card, answer["warning"])


def _answer(wanted: str) -> dict[str, object]:
    from golem_chain.shared.settings import Settings
    from golem_chain.workers.devices.faults import fault_of, first_line
    from golem_chain.workers.devices.memory import warm_up
    from golem_chain.workers.devices.selection import card_of, choice

    try:
        chosen = choice(Settings.read(_env_file=None, device=wanted))
        warm_up(chosen.device)
        card = card_of(chosen.device)
    except DeviceRefused as exc:
        return {"refused": exc.message}
    except RuntimeError as exc:
        if fault_of(exc) is None:
            raise
        return {
            "refused": f"GOLEM_DEVICE={wanted}: the device does not compute ({first_line(exc)}); look for the driver's "
            "messages in dmesg, stop other programs that use it, or set GOLEM_DEVICE=cpu."
        }
    return {"device": str(chosen.device), "card": asdict(card) if card else None, "warning": chosen.warning}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_answer(sys.argv[1])) + "\n")
