"""Every error of the project: one root, a stable code, and whether another try can help.

Each carries one sentence that names the file or the setting and the remedy. `code` is what programs read
(`Outcome.error.code`); the class attribute `retryable` tells the worker whether to hand the job back.
All take exactly one argument, so that they survive a JSON result backend.
"""


class GolemError(Exception):
    """The root. Catch this and nothing wider."""

    code = "error"
    retryable = False

    @property
    def message(self) -> str:
        """The sentence for a person."""
        return str(self.args[0]) if self.args else self.code


# -- permanent: the same job will fail the same way ----------------------------------------------------------------


class BadSetting(GolemError):
    """A GOLEM_* variable, a line of .env or a command-line option that cannot be used."""

    code = "bad-setting"


class BadRequest(GolemError):
    """What was asked for makes no sense: an unknown file, job or parameter."""

    code = "bad-request"


class BadVocabulary(BadRequest):
    """A vocabulary that cannot be parsed or used."""

    code = "bad-vocabulary"


class BadAudio(GolemError):
    """The bytes are not audio that we can read."""

    code = "bad-audio"


class AudioAboveLimit(BadAudio):
    """Readable, perhaps, but longer, larger or stranger than the settings allow."""

    code = "audio-above-limit"


class AudioMissing(BadAudio):
    """The vault no longer holds the bytes, or the file is not there or not under an allowed root."""

    code = "audio-missing"


class BadLabels(GolemError):
    """A label set that cannot be parsed or used."""

    code = "bad-labels"


class LanguageRefused(GolemError):
    """A language or a translation asked of a checkpoint that cannot give it."""

    code = "language-refused"


class ModelMissing(GolemError):
    """The checkpoint is not in the store."""

    code = "model-missing"


class ModelCorrupt(GolemError):
    """The checkpoint in the store is not what was pulled, or not what the stage needs."""

    code = "model-corrupt"


class CheckpointsDiffer(GolemError):
    """A worker has other checkpoints than those that are live in the same system."""

    code = "checkpoints-differ"


class ModelAboveBudget(GolemError):
    """The model cannot fit into the memory budget, whatever is unloaded."""

    code = "model-above-budget"


class DeviceRefused(GolemError):
    """The device was asked for but cannot be used."""

    code = "device-refused"


class TooManyDeliveries(GolemError):
    """The job was given to workers as often as is allowed and ended none of those times."""

    code = "too-many-deliveries"


class TimeLimit(GolemError):
    """The stage ran past its time limit."""

    code = "time-limit"


class Cancelled(GolemError):
    """The job was cancelled before it ended."""

    code = "cancelled"


class MissingExtra(GolemError):
    """A part of the program is not installed."""

    code = "missing-extra"


# -- retryable: another time or another box may do better -----------------------------------------------------------


class RetryableError(GolemError):
    """Another try can help."""

    code = "retryable"
    retryable = True


class OutOfMemory(RetryableError):
    """The device had too little memory, even alone and with a smaller batch."""

    code = "out-of-memory"


class BrokerAway(RetryableError):
    """Redis cannot be reached or refuses us."""

    code = "broker-away"


class HubAway(RetryableError):
    """The model hub or the package index cannot be reached."""

    code = "hub-away"


class VaultFull(RetryableError):
    """The vault is above its limit and did not drain in time."""

    code = "vault-full"
