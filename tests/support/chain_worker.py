"""A worker with fake engines that are scripted by the audio bytes, those after the header in a WAV file. The tests run
it as a program.

b"turn it on"           a transcript of these words      b"bad"          BadAudio from `prepare`
b"silence"              an empty transcript              b"die"          the child kills itself
b"sleep 2"              two seconds in the Scribe        b"confuse me"   a permanent error in the Interpreter
b"oom"                  OutOfMemory                      b"bug"          an unexpected error
b"oom once /a/file"     OutOfMemory, which creates the file; a transcript if it exists
b"die without /a/file"  the child kills itself until the file exists
b"full once /a/file"    no memory outside of a batch, which creates the file; a transcript if it exists
b"break"                the context of the card breaks
b"break once /a/file"   the same, which creates the file with the child's pid; a transcript if it exists
b"break until /a/file"  the same until the file exists
b"until /a/file"        the Scribe runs until the file exists; it creates /a/file.begun when it begins
no UTF-8                BadAudio from `prepare`
"""

import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from celery import Celery

from golem_chain.shared.errors import BadAudio, BadLabels, OutOfMemory
from golem_chain.shared.records import Intent, Reply, Segment, Transcript
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import runtime, tasks
from golem_chain.workers.devices.memory import CpuMemory
from golem_chain.workers.parent import worker
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.stub import StubEngine

QUICK_S = 1e-4  # what a stage takes for anything but `sleep`, seconds
RUN_S = float(os.environ.get("RUN_S", "0"))  # additional time per batch, seconds
RUNS = os.environ.get("RUNS")  # a file that gets a line for each text that a stage begins to run


def tell_runs(texts):
    """Write when these texts begin to run, by a clock that all processes of the machine share and no test shifts."""
    if RUNS:
        lines = "".join(f"{time.monotonic():.3f} {text}\n" for text in texts)
        with Path(RUNS).open("a") as file:  # one write, so that boxes do not mix their lines
            file.write(lines)


def script_of(data):
    """Return the text that scripts the Scribe."""
    return (data[44:] if data.startswith(b"RIFF") else data).decode(errors="replace")


class Told(StubEngine):
    """Logs when its weights are prefetched."""

    def prefetch(self):
        super().prefetch()
        logging.getLogger("golem_chain").info("prefetch %s", self.name)


@dataclass
class Scribe(Told):
    def cost(self, ask):
        text = script_of(ask.data)
        return float(text.split()[1]) if text.startswith("sleep ") else QUICK_S

    def prepare(self, ask):
        text = script_of(ask.data)
        if text == "bad" or "\ufffd" in text:
            raise BadAudio(f"{ask.name} is not audio.")
        if text.startswith("full once ") and not Path(text[10:]).exists():
            Path(text[10:]).touch()
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return Transcript() if text == "silence" else Ready(text)

    def run(self, batch):
        super().run(batch)
        tell_runs(batch)
        time.sleep(RUN_S)
        return [self.hear(text) for text in batch]

    def hear(self, text):
        if text == "die" or (text.startswith("die without ") and not Path(text[12:]).exists()):
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "bug":
            raise ValueError("secret words of the user")
        if text.startswith("sleep"):
            time.sleep(float(text.split()[1]))
        if text.startswith("oom once ") and not Path(text[9:]).exists():
            Path(text[9:]).touch()
            return OutOfMemory("No room: lower GOLEM_BATCH.")
        if text == "break" or (text.startswith(("break once ", "break until ")) and not Path(text.split()[2]).exists()):
            if text.startswith("break once "):
                Path(text[11:]).write_text(str(os.getpid()))
            raise torch.AcceleratorError(
                "CUDA error: an illegal memory access was encountered\nSearch for it, secretly"
            )
        if text.startswith("break once "):
            text = f"another child: {Path(text[11:]).read_text() != str(os.getpid())}"
        if text.startswith("until "):
            Path(f"{text[6:]}.begun").touch()
            while not Path(text[6:]).exists():
                time.sleep(0.01)
        segment = Segment(start_s=0, end_s=1, text=text, avg_logprob=-0.1, no_speech_prob=0.01, compression_ratio=1)
        return (
            OutOfMemory("No room: lower GOLEM_BATCH.") if text == "oom" else Transcript(text=text, segments=(segment,))
        )


@dataclass
class Interpreter(Told):
    def run(self, batch):
        super().run(batch)
        tell_runs(ask.text for ask in batch)
        time.sleep(RUN_S)
        return [self.mean(ask) for ask in batch]

    def mean(self, ask):
        if ask.text == "...":
            return Intent(label="noise", score=1.0, method="silence")
        if ask.text == "confuse me":
            return BadLabels("These labels cannot be used.")
        names = [label.name for label in ask.labels.labels]
        best = next((name for name in names if name in ask.text), names[-1])
        return Intent(label=best, score=0.9, scores={name: 0.9 * (name == best) for name in names}, method="entailment")


@dataclass
class Oracle(Told):
    def run(self, batch):
        super().run(batch)
        tell_runs(ask.text for ask in batch)
        time.sleep(RUN_S)
        return [
            Reply(text=f"{ask.intent.label}: {ask.text}", prompt=ask.text, seed=ask.seed, new_tokens=3) for ask in batch
        ]


def build(on_event):
    """Return a residency of fake engines."""
    engines = {"scribe": Scribe("scribe"), "interpreter": Interpreter("interpreter"), "oracle": Oracle("oracle")}
    return Residency(engines, CpuMemory(), models={"scribe": "openai/tiny@1 float32"}, on_event=on_event)


if __name__ == "__main__":
    if "IMPATIENT" in os.environ:  # gives up on Redis within 1 to 2 s instead of a minute
        vars(runtime)["WORKER_RETRIES"] = 2
    settings = Settings.read()
    name = sys.argv[1] if len(sys.argv) > 1 else "test"

    def register(app: Celery) -> None:
        tasks.register(app, settings, build)

    sys.exit(worker.start(settings, None, name, register=register))
