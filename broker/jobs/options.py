"""The options of jobs, read from texts and files, and validated."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.labels import check_labels, load_labels, parse_labels
from golem_chain.shared.records import JobOptions, LabelSet, Lane, OracleParams, StageName, Task, Vocabulary
from golem_chain.shared.vocabulary import check_vocabulary, parse_hotwords, parse_vocabulary


def make_options(
    *,
    stop: StageName | None = None,
    labels: str | Path | LabelSet | None = None,
    vocabulary: str | Vocabulary | None = None,
    language: str | None = None,
    task: Task = "transcribe",
    word_times: bool = False,
    oracle: OracleParams | None = None,
    initial_prompt: str | None = None,
    scribe_temperature: float | None = None,
    hotwords: str | Sequence[str] | None = None,
    lane: Lane = "bulk",
    expires_s: float | None = None,
    group: str | None = None,
    webhook: str | None = None,
) -> JobOptions:
    """Read and validate the options of a job, which several jobs can share. `Pipeline.submit` describes them.

    Raises BadLabels, BadVocabulary, BadRequest.
    """
    wanted, spoken, expected = _labels(labels), _vocabulary(vocabulary), parse_hotwords(hotwords)
    with validated():
        return JobOptions(
            labels=wanted,
            vocabulary=spoken,
            language=language,
            task=task,
            word_times=word_times,
            oracle=oracle or OracleParams(),
            stop=stop,
            initial_prompt=initial_prompt,
            scribe_temperature=scribe_temperature,
            hotwords=expected,
            lane=lane,
            expires_s=expires_s,
            group=group,
            webhook=webhook,
        )


@contextmanager
def validated() -> Iterator[None]:
    """Turn a validation error into BadRequest: one sentence that names the field."""
    try:
        yield
    except ValidationError as exc:
        first = exc.errors()[0]
        what = ".".join(map(str, first["loc"]))
        if not what:  # of the record as a whole: the sentence is ours
            raise BadRequest(first["msg"].removeprefix("Value error, ")) from None
        raise BadRequest(f"{what}={str(first['input'])[:80]!a}: {first['msg']}.") from None


def _labels(labels: str | Path | LabelSet | None) -> LabelSet | None:
    """Return a validated label set. Raises BadLabels."""
    if labels is None:
        return None
    if isinstance(labels, LabelSet):
        return check_labels(labels)
    return parse_labels(labels) if isinstance(labels, str) else load_labels(labels)


def _vocabulary(vocabulary: str | Vocabulary | None) -> Vocabulary | None:
    """Return a validated vocabulary. Raises BadVocabulary."""
    return check_vocabulary(vocabulary) if isinstance(vocabulary, Vocabulary) else parse_vocabulary(vocabulary)
