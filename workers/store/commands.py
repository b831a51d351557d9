"""`golem models pull|list|verify`: the store's command line. Heavy imports are lazy."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, cast

import typer

from golem_chain.shared.errors import GolemError, ModelCorrupt, ModelMissing, StoreNewer
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.store import manifest, variants
from golem_chain.workers.store.catalog import CHOICES, NAMED, PROFILES, STAGES

app = typer.Typer(help="Manage model weights: pull, list, verify, prove.", no_args_is_help=True)

_JSON = typer.Option("--json", help="Print one JSON object per line.")
#: What a pull that a user has asked for ends with: the layer above sets it. Called with the settings and the stages.
after_pull: Callable[[Settings, Sequence[str]], None] | None = None
_PIPED = 1000  # columns for a file or a pipe, so that no line is wrapped


def _stop(exc: GolemError) -> typer.Exit:
    sys.stderr.write(exc.message + "\n")
    return typer.Exit(1)


@app.command()
def pull(
    profile: Annotated[str | None, typer.Option(metavar="PROFILE", help=f"{CHOICES} (default: GOLEM_MODELS).")] = None,
    stage: Annotated[
        list[str] | None, typer.Option(metavar="STAGE", help="Pull only this stage; may be repeated.")
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            metavar="8|4",
            help="Keep packed weights packed, and pack all others to so many bits each beside the file (default: "
            "GOLEM_BITS, if it is a number).",
        ),
    ] = None,
    no_proof: Annotated[
        bool, typer.Option("--no-proof", help="Do not prove which data types answer like float32 here.")
    ] = False,
) -> None:
    """Download missing models, and verify the others.

    Then prove which data types answer like float32 on this machine."""
    if profile not in (None, "auto", *PROFILES):
        raise typer.BadParameter(f"unknown profile {profile}: use {CHOICES}")
    if bits not in (None, 8, 4):
        raise typer.BadParameter(f"weights cannot be packed to {bits} bits: use 8 or 4")
    if unknown := set(stage or ()) - set(STAGES):
        raise typer.BadParameter(f"unknown stage {min(unknown)}: the stages are {', '.join(STAGES)}")
    from golem_chain.workers.store.sources.pull import pull as fill

    try:
        fill(Settings.read(), profile, tuple(stage or STAGES), bits=bits)
    except GolemError as exc:
        raise _stop(exc) from None
    if after_pull and not no_proof:
        settings = Settings.read()
        pulled = settings if profile in (None, "auto") else settings.model_copy(update={"models": profile})
        after_pull(pulled, tuple(stage or STAGES))


@app.command("list")
def list_models(as_json: Annotated[bool, _JSON] = False) -> None:
    """List the models in the store and those that can be pulled."""
    try:
        rows = describe(Settings.read())
    except GolemError as exc:
        raise _stop(exc) from None
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "model", "stored as", "size", "state", "licence and source")
    table.columns[1].overflow = table.columns[5].overflow = "fold"
    for column in (0, 2, 3, 4):
        table.columns[column].no_wrap = True
    for row in rows:
        size = format_bytes(int(str(row["size_bytes"]))) if row["size_bytes"] else ""
        revision = f"@{str(row['revision'])[:12]}" if str(row["source"]).startswith("hub") else ""
        lines = [str(row["licence"]), f"{row['source']}{revision}", str(row.get("why", "")), _forms(row)]
        lines += [f"runs in {row['precision']}; {row['proof']}"] if "precision" in row else []
        texts = [str(row[key]) for key in ("stage", "id", "dtype")]
        table.add_row(*texts, size, str(row["state"]), "\n".join(line for line in lines if line))
    Console(width=None if sys.stdout.isatty() else _PIPED).print(table)


def describe(settings: Settings) -> list[dict[str, object]]:
    """One row for each stage's configured checkpoint, then for the other checkpoints in the store, then for the rest of
    the catalog. `state` is in use, stored, missing, damaged or available."""
    rows: list[dict[str, object]] = []
    shown = set()
    for stage in STAGES:
        try:
            checkpoint = manifest.find(settings, stage)
            rows.append(_row(checkpoint, "in use") | _precision(settings, checkpoint))
            shown.add((stage, checkpoint.id))
        except ModelMissing as exc:
            rows.append(_absent(stage, _configured(settings, stage), "missing", exc.message))
        except (ModelCorrupt, StoreNewer) as exc:
            rows.append(_absent(stage, _configured(settings, stage), "damaged", exc.message))
    for folder, held in manifest.stored(settings):
        if isinstance(held, GolemError):
            if not any(row["state"] == "damaged" and row["stage"] == folder.parent.name for row in rows):
                rows.append(_absent(folder.parent.name, folder.name, "damaged", held.message))
        elif (held.stage, held.id) not in shown and not any(row["id"] == held.id for row in rows):
            rows.append(_row(held, "stored"))
            shown.add((held.stage, held.id))
    present = {row["id"] for row in rows}
    for offer in NAMED.values():
        if offer.id not in present:
            row = _absent(offer.stage, offer.id, "available", offer.about)
            rows.append(row | {"licence": offer.licence, "source": offer.source, "size_bytes": offer.download_bytes})
    return rows


def _row(checkpoint: manifest.Checkpoint, state: str) -> dict[str, object]:
    keys = ("stage", "id", "source", "licence", "revision", "dtype", "size_bytes", "fingerprint", "pulled_at")
    held = {name: variant.file.bytes for name, variant in variants.held(checkpoint).items()}
    told = {key: getattr(checkpoint, key) for key in keys}
    return {**told, "state": state, "folder": str(checkpoint.folder), "variants": held}


def _forms(row: dict[str, object]) -> str:
    """`also as 8 bit (161 MB), 4 bit (92 MB)`; empty if there are no variants."""
    held = cast("dict[str, int]", row.get("variants", {}))
    forms = [f"{re.sub('(?<=[84])bit', ' bit', name)} ({format_bytes(size)})" for name, size in held.items()]
    return f"also as {', '.join(forms)}" if forms else ""


def _precision(settings: Settings, checkpoint: manifest.Checkpoint) -> dict[str, object]:
    """The form that runs on this machine, and what its proof says; nothing if the device refuses to tell."""
    from golem_chain.workers.devices.probe import ask
    from golem_chain.workers.store import chosen, verdicts

    try:
        card = ask(settings.device).card
    except GolemError:
        return {}
    form = chosen.form_of(settings, checkpoint, card)
    verdict = verdicts.find(checkpoint, verdicts.binding_of(checkpoint, card))
    tried = verdict.of(form) if verdict else None
    if verdict is None or tried is None:
        return {"precision": form.name, "proof": "not proved"}
    told = f"{tried.speed or 1:.1f} × float32" if tried.passed else f"failed: {tried.why}"
    failed = [f"{one.form}: {one.why}" for one in verdict.tried if one.why and not one.passed]
    told = f"no shorter type passed ({failed[0]})" if form.name == "float32" and failed else told
    return {"precision": form.name, "proof": told}


def _absent(stage: str, name: str, state: str, why: str) -> dict[str, object]:
    blank = dict.fromkeys(("source", "licence", "revision", "dtype"), "")
    return {"stage": stage, "id": name, **blank, "size_bytes": 0, "state": state, "why": why}


def _configured(settings: Settings, stage: str) -> str:
    try:
        return manifest.wanted(settings, stage).id
    except GolemError:
        return settings.model_of(stage) or f"({settings.models})"


@app.command()
def verify(as_json: Annotated[bool, _JSON] = False) -> None:
    """Verify every file in the store. Exits with 1 if a file is damaged."""
    settings = Settings.read()
    wrong = 0
    found = list(manifest.stored(settings))
    if not found:
        raise _stop(ModelMissing(f"The store {settings.store} holds no models yet: run `golem models pull`."))
    for folder, held in found:
        error: GolemError | None = held if isinstance(held, GolemError) else None
        if isinstance(held, manifest.Checkpoint):
            try:
                manifest.verify(held)
                for variant in variants.held(held).values():
                    variants.check(variant, whole=True)
            except GolemError as exc:
                error = exc
        wrong += error is not None
        name = f"{folder.parent.name}/{folder.name}"
        if as_json:
            row = {"model": name, "sound": error is None, "error": error.message if error else None}
            sys.stdout.write(json.dumps(row) + "\n")
        else:
            sys.stdout.write(f"{name}: {error.message if error else 'ok'}\n")
    if wrong:
        raise typer.Exit(1)
