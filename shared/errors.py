"""The project's exceptions: one root class, a stable code each, and whether a retry can help.

The message is one sentence that names the file or setting and the remedy. `code` is for programs
(`Outcome.error.code`). `retryable` tells the worker whether to retry the job.
Each exception takes exactly one argument, so that it can be built from its text.
"""


class GolemError(Exception):
    """Base class of all errors in this project. Catch this and nothing broader."""

    code = "error"
    retryable = False

    @property
    def message(self) -> str:
        """The human-readable sentence."""
        return str(self.args[0]) if self.args else self.code


# -- permanent: the same job will fail the same way ----------------------------------------------------------------


class BadSetting(GolemError):
    """A GOLEM_* variable, a line of .env or a command-line option is invalid."""

    code = "bad-setting"


class WireDiffers(GolemError):
    """The system in Redis is of another release, whose messages this one does not handle."""

    code = "wire-differs"


class BadRequest(GolemError):
    """The request is invalid: an unknown file, job or parameter."""

    code = "bad-request"


class UnknownJob(BadRequest):
    """There is no such job: it was never submitted, its Outcome is no longer kept, or it is somebody else's."""

    code = "unknown-job"


class UnknownGroup(BadRequest):
    """There is no such group."""

    code = "unknown-group"


class IdTaken(BadRequest):
    """The id belongs to a job with another request."""

    code = "id-taken"


class BadWebhook(BadRequest):
    """The URL of a webhook is invalid or not allowed, or nothing would deliver to it."""

    code = "bad-webhook"


class BadVocabulary(BadRequest):
    """The vocabulary cannot be parsed or used."""

    code = "bad-vocabulary"


class BadAudio(GolemError):
    """The bytes are not readable audio."""

    code = "bad-audio"


class AudioAboveLimit(BadAudio):
    """The audio exceeds a limit: size, duration, channels or sample rate."""

    code = "audio-above-limit"


class AudioMissing(BadAudio):
    """The audio is no longer in the vault, or the file does not exist or is not under an allowed root."""

    code = "audio-missing"


class BadLabels(GolemError):
    """The label set cannot be parsed or used."""

    code = "bad-labels"


class LanguageRefused(GolemError):
    """The checkpoint does not support the requested language or translation."""

    code = "language-refused"


class ModelMissing(GolemError):
    """The checkpoint is not in the store."""

    code = "model-missing"


class ModelCorrupt(GolemError):
    """The checkpoint in the store was altered since the pull, or does not suit the stage."""

    code = "model-corrupt"


class StoreNewer(GolemError):
    """The store was written by a newer version, whose records this one cannot read."""

    code = "store-newer"


class CheckpointsDiffer(GolemError):
    """The worker's checkpoints differ from those of the live workers in the same system."""

    code = "checkpoints-differ"


class ModelAboveBudget(GolemError):
    """The model does not fit into the memory budget even with everything else unloaded."""

    code = "model-above-budget"


class DeviceRefused(GolemError):
    """The configured device cannot be used."""

    code = "device-refused"


class TooManyDeliveries(GolemError):
    """The job reached the maximum number of deliveries without finishing."""

    code = "too-many-deliveries"


class TimeLimit(GolemError):
    """The stage exceeded its time limit."""

    code = "time-limit"


class Cancelled(GolemError):
    """The job was cancelled before it ended."""

    code = "cancelled"


class Expired(GolemError):
    """The job's deadline passed before it ended."""

    code = "expired"


class GroupCancelled(GolemError):
    """The group of the job was cancelled."""

    code = "group-cancelled"


class NoMicrophone(GolemError):
    """There is no microphone, it cannot be opened, or it has stopped."""

    code = "no-microphone"


class MissingExtra(GolemError):
    """An optional dependency is not installed."""

    code = "missing-extra"


# -- retryable: a later run or another box may succeed -------------------------------------------------------------


class RetryableError(GolemError):
    """A retry can help."""

    code = "retryable"
    retryable = True


class OutOfMemory(RetryableError):
    """The device ran out of memory even for a single item with every other model unloaded."""

    code = "out-of-memory"


class ModelChanged(RetryableError):
    """The checkpoint was pulled again, with other content, while a worker was using it."""

    code = "model-changed"


class BrokerAway(RetryableError):
    """Redis cannot be reached, or refuses the connection or a command."""

    code = "broker-away"


class HubAway(RetryableError):
    """The model hub or the package index cannot be reached."""

    code = "hub-away"


class UploadLost(RetryableError):
    """Audio that was being uploaded is no longer in the vault."""

    code = "upload-lost"


class VaultFull(RetryableError):
    """The vault reached its limit and no space became free in time."""

    code = "vault-full"
