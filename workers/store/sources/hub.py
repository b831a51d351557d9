"""Checkpoints from the Hugging Face hub: resolves a revision to a commit, downloads the needed files, checks hashes."""

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from golem_chain.shared.errors import HubAway, ModelCorrupt
from golem_chain.shared.json_object import JsonObject
from golem_chain.workers.store.catalog import Offer
from golem_chain.workers.store.formats.convert import SIDE_FILES, weight_files
from golem_chain.workers.store.manifest import sha256_of
from golem_chain.workers.store.sources.progress import Bar

_PROBE_S = 4.0
_TIMEOUT_S = 15.0
_REMEDY = (
    "use models that need no hub (`golem models pull --profile bundled`), or set GOLEM_{stage}_MODEL to a local folder "
    "with the model"
)


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    commit: str
    licence: str
    sizes: dict[str, int]  # name → bytes
    hashes: dict[str, str] = field(default_factory=dict)  # name → sha256, where the hub states it (large files)


def endpoint() -> str:
    """The hub's URL: HF_ENDPOINT, or the public hub."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def answers(offer: Offer, within_s: float = _PROBE_S) -> bool:
    """Whether the hub confirms in time that it has this checkpoint. False if disabled (HF_HUB_OFFLINE=1)."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    import huggingface_hub  # noqa: F401 - so that the import does not count against the timeout

    found: list[Listing] = []

    def ask() -> None:
        try:
            found.append(listing(offer, within_s))
        except (HubAway, ModelCorrupt):
            return

    thread = threading.Thread(target=ask, daemon=True)  # name resolution does not obey the client's timeout
    thread.start()
    thread.join(within_s)
    return bool(found)


def listing(offer: Offer, timeout_s: float = _TIMEOUT_S) -> Listing:
    """List the repository's files at the current commit of the offer's revision. Raises HubAway, ModelCorrupt."""
    info = _call(
        offer,
        lambda hub: hub.HfApi(endpoint=endpoint()).model_info(
            offer.hub, revision=offer.revision, timeout=timeout_s, files_metadata=True
        ),
    )
    card = info.card_data.to_dict() if info.card_data else {}
    tags = [tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")]
    siblings = info.siblings or []
    return Listing(
        commit=str(info.sha),
        licence=str(card.get("license") or (tags[0] if tags else "not stated")),
        sizes={file.rfilename: file.size or 0 for file in siblings},
        hashes={file.rfilename: file.lfs.sha256 for file in siblings if file.lfs},
    )


def download(offer: Offer, found: Listing, folder: Path, bar: Bar) -> None:
    """Download the needed files into `folder`. Raises HubAway, ModelCorrupt, OSError (ENOSPC)."""
    folder.mkdir(parents=True)
    names = [name for name in SIDE_FILES if name in found.sizes]
    indexes = [name for name in found.sizes if name.endswith(".index.json")]

    def fetch(name: str) -> Path:
        path = Path(
            _call(
                offer,
                lambda hub: hub.hf_hub_download(
                    offer.hub, name, revision=found.commit, local_dir=folder, endpoint=endpoint()
                ),
            )
        )
        if name in found.hashes and sha256_of(path) != found.hashes[name]:
            raise ModelCorrupt(f"{offer.hub}/{name} does not match the hash that the hub states; nothing was kept.")
        return path

    def index(name: str) -> JsonObject:
        try:
            value = json.loads(fetch(name).read_text(encoding="utf-8"))
        except ValueError:
            value = None
        return value if isinstance(value, dict) else {}

    weights = weight_files({*found.sizes}, index)
    if not weights or "config.json" not in names:
        raise ModelCorrupt(f"{offer.hub} is not a usable model: config.json or the weights are missing.")
    done, total = 0, sum(found.sizes.get(name, 0) for name in {*names, *weights, *indexes})
    for name in [*names, *weights]:
        with _watched(folder, done, total, bar):
            fetch(name)
        done += found.sizes.get(name, 0)
        bar(done, total)


class _watched:  # noqa: N801 - a context manager that reads like a function
    """Updates a bar with the size of the unfinished file in `folder` four times a second, since the hub's client has no
    progress callback."""

    def __init__(self, folder: Path, done: int, total: int, bar: Bar) -> None:
        self._folder, self._done, self._total, self._bar = folder, done, total, bar
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.25):
            part = max((_size(path) for path in self._folder.rglob("*.incomplete")), default=0)
            self._bar(self._done + part, self._total)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # finished and renamed since it was listed


def _call(offer: Offer, ask: Callable[[Any], Any]) -> Any:
    """Call the hub's client without its progress bars, and turn its exceptions into errors with one sentence."""
    import huggingface_hub as hub
    from huggingface_hub import errors
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # failures are reported here
    remedy = _REMEDY.format(stage=offer.stage.upper())
    try:
        return ask(hub)
    except errors.GatedRepoError:
        raise HubAway(
            f"{offer.hub} is gated: accept its terms on the hub, and set HF_TOKEN to your access token."
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelCorrupt(f"{offer.hub} has no revision {offer.revision} on the hub: name an existing one.") from None
    except errors.RepositoryNotFoundError:
        raise HubAway(
            f"{offer.hub} does not exist on the hub at {endpoint()}, or needs an access token; {remedy}."
        ) from None
    except errors.HFValidationError as exc:
        raise ModelCorrupt(f"{offer.hub} is not a hub id: {exc}") from None
    except OSError as exc:
        if exc.errno in (28, 122):  # ENOSPC, EDQUOT
            raise
        raise _unreachable(offer, exc, remedy) from None
    except Exception as exc:  # noqa: BLE001 - httpx, xet and the client raise many types
        raise _unreachable(offer, exc, remedy) from None


def _unreachable(offer: Offer, exc: Exception, remedy: str) -> HubAway:
    logging.getLogger(__name__).debug("hub: %r", exc)
    return HubAway(f"The model hub at {endpoint()} cannot be reached for {offer.hub} ({type(exc).__name__}); {remedy}.")
