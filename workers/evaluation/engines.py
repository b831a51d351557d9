"""The engines that an evaluation asks, outside of any worker, and what they are and run on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch
import transformers

from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.selection import pick_device, pick_dtype
from golem_chain.workers.stages.interpreter import engine as interpreter
from golem_chain.workers.stages.scribe import engine as scribe
from golem_chain.workers.store import find
from golem_chain.workers.store.load import Weights, read_config


def open_scribe(settings: Settings) -> scribe.Scribe:
    """The Scribe of the settings with its weights loaded. Raises ModelMissing, ModelCorrupt, DeviceRefused."""
    _threads(settings)
    device = pick_device(settings)
    dtype = pick_dtype(settings, device, "scribe")
    made = scribe.Scribe(Weights(find(settings, "scribe"), scribe.make, device, dtype), settings)
    made.load()
    return made


def open_interpreter(settings: Settings) -> interpreter.Interpreter:
    """The Interpreter of the settings with its weights loaded. Raises ModelMissing, ModelCorrupt, DeviceRefused."""
    _threads(settings)
    device, checkpoint = pick_device(settings), find(settings, "interpreter")
    nli = interpreter.method_of(read_config(checkpoint.folder)) == "entailment"
    dtype = pick_dtype(settings, device, "interpreter", cross_encoder=nli)
    made = interpreter.Interpreter(Weights(checkpoint, interpreter.make, device, dtype), settings)
    made.load()
    return made


def run_on(engine: scribe.Scribe | interpreter.Interpreter) -> dict[str, str]:
    """Model, versions and hardware."""
    weights = engine.weights
    return {
        "model": f"{weights.checkpoint.id} ({weights.checkpoint.revision[:12]}) in {_name(weights.dtype)}",
        "versions": f"golem-chain {version('golem-chain')}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, Python {platform.python_version()}",
        "hardware": _hardware(weights.device),
    }


def _threads(settings: Settings) -> None:
    if settings.threads:
        torch.set_num_threads(settings.threads)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
