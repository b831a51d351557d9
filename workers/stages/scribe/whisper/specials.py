"""A checkpoint's special tokens."""

from dataclasses import dataclass, field
from typing import Any

from golem_chain.shared.records import Task


@dataclass(frozen=True)
class Specials:
    """A checkpoint's special token ids, from its generation config."""

    start: int
    end: int
    no_timestamps: int
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()
    languages: dict[str, int] = field(default_factory=dict)  # ISO code → token; empty if English-only
    tasks: dict[str, int] = field(default_factory=dict)
    last_first_time: int | None = None  # upper limit of the first timestamp, in time steps

    @property
    def first_time(self) -> int:
        """The token of <|0.00|>."""
        return self.no_timestamps + 1

    @property
    def no_speech(self) -> int:
        """The token of <|nospeech|>, which is right before <|notimestamps|> in every Whisper vocabulary."""
        return self.no_timestamps - 1

    @property
    def previous(self) -> int:
        """The token of <|startofprev|>, which is right before <|nospeech|>: text that precedes the window follows."""
        return self.no_timestamps - 2

    def prompt(self, language: str | None, task: Task, timestamps: bool) -> list[int]:
        """The tokens between <|startoftranscript|> and the text."""
        chosen = [self.languages[language], self.tasks[task]] if self.languages and language else []
        return chosen + ([] if timestamps else [self.no_timestamps])

    @classmethod
    def of(cls, generation: Any) -> "Specials":
        """Build from a transformers GenerationConfig. Raises AttributeError if it is not Whisper's."""
        multilingual = bool(getattr(generation, "is_multilingual", False))
        languages = (getattr(generation, "lang_to_id", None) or {}) if multilingual else {}
        return cls(
            start=generation.decoder_start_token_id,
            end=generation.eos_token_id if isinstance(generation.eos_token_id, int) else generation.eos_token_id[0],
            no_timestamps=generation.no_timestamps_token_id,
            suppressed=tuple(generation.suppress_tokens or ()),
            suppressed_first=tuple(generation.begin_suppress_tokens or ()),
            languages={token.strip("<|>"): number for token, number in languages.items()},
            tasks=dict(getattr(generation, "task_to_id", None) or {}) if multilingual else {},
            last_first_time=getattr(generation, "max_initial_timestamp_index", None),
        )
