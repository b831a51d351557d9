"""Judges decoded windows: chooses phrases of a vocabulary, applies the guards, and writes a recording's transcript."""

from collections.abc import Sequence

from golem_chain.shared.records import Segment, Transcript
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.scribe import guards
from golem_chain.workers.stages.scribe.audio import speech
from golem_chain.workers.stages.scribe.prepared import PreparedAudio
from golem_chain.workers.stages.scribe.transcribe import Transcriber, Work
from golem_chain.workers.stages.scribe.vocabulary.choice import SURE, UNKNOWN, Free, Limits, choose
from golem_chain.workers.stages.scribe.whisper import timestamps, timing
from golem_chain.workers.stages.transformers_types import Model

#: How far a timestamp of the model may be from the voice, seconds.
_TIMESTAMP_S = 1.0


class Judge:
    """Judges the windows of one batch."""

    def __init__(self, transcriber: Transcriber, settings: Settings, model: Model) -> None:
        self._transcriber, self._settings, self._model = transcriber, settings, model
        self._specials = transcriber.specials

    def guarded(self, item: Work) -> list[Work]:
        """Apply the guards to a window. If its text loops or nobody can say it so fast, decode it once more in the
        other mode, with or without timestamps: a loop seldom happens in both. A text that is only too fast stays unless
        the other one is likelier and not suspicious."""
        self._judge(item)
        looping = item.guards == ["loop"]
        if item.choice is not None or not (looping or self._is_too_fast(item)):
            return [item]
        told = Work(item.sound, item.window, not item.timestamps, language=item.heard.language)
        again = self._transcriber.hear(self._model, [told])
        for other in again:
            self._judge(other)
        likelier = _mean_logprob(again) > item.heard.avg_logprob and any(other.text for other in again)
        return again if looping or (likelier and not any(map(self._transcriber.doubts, again))) else [item]

    def transcript(self, heard: PreparedAudio, work: Sequence[Work]) -> Transcript:
        found = [segment for item in work if item.text for segment in self._segments(item)]
        fired = dict.fromkeys(guard for item in work for guard in item.guards)
        chosen = [item for item in work if item.choice is not None]
        return Transcript(
            text=" ".join(segment.text for segment in found),
            language=(spoken_language(work) or "en") if found else None,
            segments=tuple(found),
            duration_s=round(heard.duration_s, 3),
            speech_s=round(speech.speech_s(heard.spans), 3),
            guards=tuple(fired),
            choice=chosen[0].choice if len(chosen) == 1 else None,
            free_text=" ".join(self._free_text(item) for item in chosen) if chosen else None,
        )

    def _judge(self, item: Work) -> None:
        """Choose the phrase if there is a vocabulary, then clear text that a guard rejects and record the guard."""
        sound, window = item.sound, item.window
        applied, limit = self._settings.guards, sound.limit
        if item.scores and sound.lexicon is not None:
            free = Free(item.text, item.heard.tokens, item.heard.raw_logprob)
            limits = Limits(self._settings.vocabulary_floor, self._settings.vocabulary_margin)
            item.choice = choose(sound.lexicon, item.scores, free, limits)
            if item.choice.phrase != UNKNOWN:  # its probability vouches for it; the other guards judge free text
                item.text, applied = item.choice.phrase, tuple(name for name in applied if name == "no_speech")
                limit += speech.SURE_LIMIT if item.choice.posterior >= SURE else 0.0
        evidence = guards.Evidence(
            text=item.text,
            tokens=len(item.heard.tokens),
            no_speech_prob=item.heard.no_speech_prob,
            no_speech_limit=limit,
            voiced_s=speech.voiced_between(sound.spans, window.start_s, window.end_s),
            clear_s=self._clear_s(sound, window.start_s, window.end_s),
            prompt=_prompt(item),
            full=item.heard.full,
            avg_logprob=item.heard.avg_logprob,
            chosen=item.choice is not None and item.choice.phrase != UNKNOWN,
        )
        if guard := guards.rejecting(evidence, applied):
            item.text, item.guards = "", [guard]
            item.choice = None if guard == "no_speech" else item.choice

    def _is_too_fast(self, item: Work) -> bool:
        start_s, end_s = item.window.start_s, item.window.end_s
        voiced_s = speech.voiced_between(item.sound.spans, start_s, end_s)
        return "loop" in self._settings.guards and guards.is_too_fast(item.text, voiced_s)

    def _clear_s(self, sound: PreparedAudio, start_s: float, end_s: float) -> float:
        return speech.clear_between(sound.chances, self._settings.vad_threshold, start_s, end_s)

    def _free_text(self, item: Work) -> str:
        """The window's transcript without the vocabulary."""
        return guards.tidy(self._transcriber.words(item.heard.tokens))

    def _segments(self, item: Work) -> list[Segment]:
        """The segments of a window: one for each pair of timestamps, or without timestamps one for all its voice."""
        window, spans = item.window, item.sound.spans
        if item.timestamps:
            parts = timestamps.pieces(item.heard.tokens, self._specials.first_time, window.end_s - window.start_s)
            return [segment for part in parts if (segment := self._segment(item, part))]
        inside = speech.spans_between(spans, window.start_s, window.end_s)
        start = max(inside[0].start_s, window.start_s) if inside else window.start_s
        end = min(inside[-1].end_s, window.end_s) if inside else window.end_s
        return [self._timed(_segment(item, start, end, item.text), item, item.heard.tokens, 0)]

    def _segment(self, item: Work, part: timestamps.Piece) -> Segment | None:
        """The segment of a piece of a window; None if it has no text, or if the text is an invention."""
        start_s, end_s = item.window.start_s + part.start_s, item.window.start_s + part.end_s
        text = guards.tidy(self._transcriber.words(part.tokens))
        clear_s = self._clear_s(item.sound, start_s - _TIMESTAMP_S, end_s + _TIMESTAMP_S)
        if "invention" in self._settings.guards and guards.is_invented(
            text, clear_s, item.heard.no_speech_prob, _prompt(item), item.heard.avg_logprob
        ):
            item.guards.append("invention")
            return None
        return self._timed(_segment(item, start_s, end_s, text), item, part.tokens, part.first) if text else None

    def _timed(self, segment: Segment, item: Work, tokens: Sequence[int], first: int) -> Segment:
        """Add word times to a segment if requested. `first` is the index of its first token among the window's text
        tokens."""
        if not item.heard.times or (item.choice is not None and item.choice.phrase != UNKNOWN):
            return segment  # the times belong to the free text, not to the chosen phrase
        said = [token for token in tokens if token < self._specials.end]
        pieces = self._transcriber.pieces(said, item.heard.language)
        times = item.heard.times[first : first + len(said)]
        words = timing.words(pieces, times, item.window.start_s, item.sound.spans)
        if not words:
            return segment
        return segment.model_copy(update={"words": words, "start_s": words[0].start_s, "end_s": words[-1].end_s})


def _prompt(item: Work) -> str:
    """What the model was told that it may repeat where nobody speaks: the prompt of the window or the text before it,
    and the hotwords."""
    prompt = item.before.text if item.before else item.sound.prompt if item.sound.before(item.window) else ""
    return " ".join([prompt, *(hotword.text for hotword in item.sound.hotwords)]).strip()


def _mean_logprob(work: Sequence[Work]) -> float:
    """The mean log-probability of the tokens of several windows."""
    counts = [len(item.heard.tokens) + 1 for item in work]  # with <|endoftext|>
    return sum(item.heard.avg_logprob * count for item, count in zip(work, counts, strict=True)) / sum(counts)


def _segment(item: Work, start_s: float, end_s: float, text: str) -> Segment:
    return Segment(
        start_s=round(start_s, 2),
        end_s=round(end_s, 2),
        text=text,
        language=item.heard.language,
        avg_logprob=round(item.heard.avg_logprob, 4),
        no_speech_prob=round(item.heard.no_speech_prob, 4),
        compression_ratio=round(guards.compression_ratio(text), 3),
        choice=item.choice,
    )


def spoken_language(work: Sequence[Work]) -> str | None:
    """The language with the most window seconds among windows with text; the first one if tied."""
    lengths_s: dict[str, float] = {}
    for item in work:
        if item.text and item.heard.language:
            known_s = lengths_s.get(item.heard.language, 0.0)
            lengths_s[item.heard.language] = known_s + item.window.end_s - item.window.start_s
    return max(lengths_s, key=lambda language: lengths_s[language], default=None)
