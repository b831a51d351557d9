"""Hostile queue messages that Lua's cjson, Python's json, kombu, Celery and pydantic read differently.

Each kind is a function of (fate, scene) that returns the raw bytes of one message. A scene tells what a forger may
know: a real message of each stage, jobs of its own, and jobs of others.
"""

import base64
import bz2
import gzip
import json
import lzma
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golem_chain.broker.queues import STAGES, task_id, task_name
from tests.fuzz.readers import damaged, value, words
from tests.support.messages import WHOLE, places, swapped


@dataclass
class Scene:
    """What a message is made from. `owned`: a file that only a message that was obeyed creates."""

    real: dict[str, Any]  # a message that a producer sent
    own: list[str]  # ids of the forger's jobs, submitted properly
    others: list[str]  # ids of other producers' jobs, submitted properly
    sent: dict[str, bytes]  # the messages of all of these
    owned: Path


class _Pickled:
    def __init__(self, owned):
        self.owned = owned

    def __reduce__(self):
        return open, (str(self.owned), "w")


_MARK = "@here@"
_LITERALS = (
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        "inf",
        "-nan",
        "-0",
        "-0.0",
        "1e999",
        "-1e999",
        "1E400",
        "0x10",
        "01",
        "+1",
    ),
    *(".5", "1.", "1e308", "9" * 400, "9" * 5000, "-" + "9" * 20, "18446744073709551616", "1e-400", "True", "None"),
    *(
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\u0000"',
        '"a\0b"',
        '"\\x41"',
        '"\\/"',
        "'a'",
        '"',
        "{}",
        "[]",
        "[{}]",
        "null",
    ),
    *("[1,]", '{"a":1,}', '{"a":1,"a":2}', "{1:2}", "/* */ 1", '"\u202e"', '"\t"', '"' + "x" * 70_000 + '"', ""),
)
_BROKEN = (b'"\xff\xfe"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf5\x80\x80\x80"', b"\x00", b"\xef\xbb\xbf1", b'"\x80"')
_DEPTHS = (60, 500, 900, 985, 997, 998, 999, 1000, 1001, 1002, 1100, 5000, 100_000)
_FOREIGN = (
    *("celery.backend_cleanup", "celery.chord_unlock", "celery.group", "celery.chain", "celery.chord", "celery.map"),
    *(
        "celery.starmap",
        "celery.chunks",
        "celery.accumulate",
        "os.system",
        "golem",
        "golem.",
        "golem.nobody",
        "",
        "__main__.x",
    ),
    *("golem.scribe\0", "golem_chain.workers.child.tasks.parse", "stage", "\ud800"),
)
_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**63,
    1e308,
    "",
    "a",
    "\0",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    "x" * 5000,
)
_TIMES = (
    *("2001-01-01T00:00:00", "2001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999", "0001-01-01T00:00:00+14:00"),
    *("2001-02-30", "yesterday", "2001-01-01T00:00:00.123456789Z", "-1", "10000-01-01", "2100-01-01T00:00:00+00:00"),
)


def message(scene, job, stage, *, body=None, embed=None, tag=None, **headers):
    """Return a message as a producer sends it, for a stage of a job."""
    made = json.loads(json.dumps(scene.real))
    handover = json.loads(json.dumps(WHOLE))
    handover["job"]["id"], handover["job"]["audio"]["key"] = job, f"vault:{job}"
    made["headers"] |= {"id": task_id(job, stage), "root_id": task_id(job, stage), "task": task_name(stage)} | headers
    made["properties"]["correlation_id"] = made["headers"]["id"]
    made["properties"]["delivery_tag"] = tag or f"forged-{base64.b32encode(job.encode()).decode().strip('=')[:60]}"
    made["properties"]["delivery_info"]["routing_key"] = stage
    whole = [[handover], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None} | (embed or {})]
    return made, body if body is not None else whole


def closed(made, body):
    """Return the message with this body as its bytes."""
    return json.dumps(made | {"body": base64.b64encode(json.dumps(body).encode()).decode()}).encode()


def _any(fate, scene, **more):
    """Return an ordinary message for one of the forger's jobs, or for none."""
    job = fate.choice((*scene.own, f"nobody-{fate.getrandbits(32):x}"))
    return message(scene, job, fate.choice(STAGES), tag=f"forged-{fate.getrandbits(64):x}", **more)


def literals(fate, scene):
    """A place of the message, or of its body, holds text that parsers disagree about."""
    made, body = _any(fate, scene)
    inside = fate.random() < 0.5
    target = body if inside else made | {"body": base64.b64encode(json.dumps(body).encode()).decode()}
    place = fate.choice(places(target))
    text = json.dumps(swapped(target, place, _MARK)).encode()
    what = fate.choice([one.encode(errors="surrogatepass") for one in _LITERALS] + list(_BROKEN))
    if fate.random() < 0.2:
        opener, closer = fate.choice((("[", "]"), ('{"a":', "}")))
        depth = fate.choice(_DEPTHS)
        what = (opener * depth + "1" + closer * (depth if fate.random() < 0.9 else 0)).encode()
    text = text.replace(f'"{_MARK}"'.encode(), what)
    if fate.random() < 0.1:
        text = fate.choice((text + b"x", b" \n" + text, b"\xef\xbb\xbf" + text, text + b"\0", text.replace(b":", b"=")))
    return closed(made, None).replace(base64.b64encode(b"null"), base64.b64encode(text)) if inside else text


def twins(fate, scene):
    """Keys appear twice, with different values."""
    made, body = _any(fate, scene)
    raw = closed(made, body).decode()
    key = fate.choice(("headers", "properties", "body", "task", "id", "delivery_tag", "routing_key", "delivery_info"))
    other = fate.choice(("null", '"x"', "{}", "[]", "7", json.dumps(made.get("headers"))))
    first = fate.random() < 0.5
    at = raw.index(f'"{key}":') if first else len(raw) - 1
    return (raw[:at] + (f'"{key}": {other}, ' if first else f', "{key}": {other}') + raw[at:]).encode()


def types(fate, scene):
    """A place has a value of another type."""
    made, body = _any(fate, scene)
    odd = fate.choice(_ODD) if fate.random() < 0.6 else value(fate)
    if fate.random() < 0.5:
        return closed(made, swapped(body, fate.choice(places(body)), odd))
    target = made | {"body": base64.b64encode(json.dumps(body).encode()).decode()}
    return json.dumps(swapped(target, fate.choice(places(target)), odd)).encode()


def missing(fate, scene):
    """Keys are missing, or there are others."""
    made, body = _any(fate, scene)
    for _ in range(fate.choice((1, 1, 2, 5))):
        target = fate.choice((made, made["headers"], made["properties"], body[0][0] if body[0] else {}, body[2]))
        if isinstance(target, dict) and target:
            if fate.random() < 0.8:
                target.pop(fate.choice(sorted(target)))
            else:
                target[words(fate, 5)] = value(fate)
        made.setdefault("headers", {}), made.setdefault("properties", {})
    return closed(made, body)


def bodies(fate, scene):
    """The body's encoding, compression or content type is not ours; some would run code, some are bombs."""
    made, body = _any(fate, scene)
    plain = json.dumps(body).encode()
    match fate.randrange(6):
        case 0:
            made["body"] = fate.choice(
                ("!", "=", "YQ", "é", "A" * 1001, plain.decode(), base64.b85encode(plain).decode())
            )
        case 1:
            made["properties"]["body_encoding"] = fate.choice(
                ("", "base32", "utf-8", None, 7, [], "BASE64", "hex", "zip")
            )
            made["body"] = base64.b64encode(plain).decode()
        case 2:
            kind, pack = fate.choice((("gzip", gzip.compress), ("bz2", bz2.compress), ("lzma", lzma.compress)))
            data = b"[" + b" " * (1 << fate.choice((10, 20, 23))) + plain[1:]
            named = {"gzip": "application/x-gzip", "bz2": "application/x-bz2", "lzma": "application/x-lzma"}[kind]
            made["headers"]["compression"] = fate.choice((named, named, "application/zstd", kind, 7, "x"))
            made["body"] = base64.b64encode(pack(data) if fate.random() < 0.8 else plain).decode()
        case 3:
            made["content-type"] = "application/x-python-serialize"
            made["content-encoding"] = "binary"
            made["body"] = base64.b64encode(pickle.dumps(_Pickled(scene.owned))).decode()
        case 4:
            made["content-type"] = fate.choice(
                (
                    "application/x-yaml",
                    "application/x-msgpack",
                    "text/plain",
                    "application/data",
                    "",
                    None,
                    7,
                    [],
                    "json",
                )
            )
            harm = f"!!python/object/apply:os.system ['touch {scene.owned}']".encode()
            made["body"] = base64.b64encode(fate.choice((harm, plain, b"\x93\x01\x02\x03"))).decode()
        case _:
            made["content-encoding"] = fate.choice(
                ("binary", "rot13", "zlib", "utf-7", "utf-16", "idna", "unicode_escape", "", None, 7, "\0", "no such")
            )
            made["body"] = base64.b64encode(plain).decode()
    return json.dumps(made).encode()


def headers(fate, scene):
    """Headers that Celery and our own code act on."""
    said = {}
    for _ in range(fate.choice((1, 1, 2, 4))):
        name, values = fate.choice(
            (
                ("eta", _TIMES),
                ("expires", _TIMES),
                ("delay_s", (-1, 0.1, 1e308, "1", None, [], -1e308)),
                ("sent_at", (-1e308, 1e308, 2**70, "1", "x", [], {}, True)),
                ("group", _ODD),
                ("group_index", _ODD),
                (
                    "timelimit",
                    (*_ODD, [0, 0], [1], [-1, -1], ["a", "b"], [None, None, None], [1e308, 1e308], [None, 0.001]),
                ),
                ("retries", (*_ODD, 3, 10**9, -(10**9), 2.5)),
                ("ignore_result", _ODD),
                ("replaced_task_nesting", _ODD),
                ("stamps", (*_ODD, {"a": ["b"]}, {"\0": [{}]})),
                ("stamped_headers", (*_ODD, ["a"], ["stamps"])),
                ("shadow", _ODD),
                ("origin", _ODD),
                ("root_id", _ODD),
                ("parent_id", _ODD),
                ("argsrepr", _ODD),
                ("kwargsrepr", _ODD),
                ("lang", _ODD),
                ("golem_result", _ODD),
                ("args", _ODD),
                ("kwargs", _ODD),
                ("task", _ODD),
                ("id", (*_ODD, ".", "..", "a.", ".scribe", "x" * 100_000, "a:b*?[.oracle", "\n.scribe")),
            )
        )
        said[name] = fate.choice(values)
    made, body = _any(fate, scene, **said)
    made["properties"]["reply_to"] = fate.choice((None, "scribe", "golem:dead", 7, {}))
    made["properties"]["delivery_info"]["redelivered"] = fate.choice((False, False, True, None, "no", {}))
    return closed(made, body)


def limits(fate, scene):
    """A time limit that nothing can keep."""
    return closed(*_any(fate, scene, timelimit=fate.choice(([0.001, None], [1e-9, 1e-9], [0.01, 0.005]))))


def embeds(fate, scene):
    """What runs after the task names foreign tasks, or is no signature."""

    def signature():
        return {
            "task": fate.choice((*_FOREIGN, *map(task_name, STAGES))),
            "args": fate.choice(([], [WHOLE], _ODD[-1])),
            "kwargs": {},
            "options": fate.choice(
                ({}, {"queue": "owned"}, {"task_id": "x", "queue": "scribe"}, {"routing_key": "owned"}, {"eta": "x"})
            ),
            "subtask_type": fate.choice((None, "chain", "group", "chord", "x")),
            "immutable": fate.random() < 0.5,
        }

    parts = (signature, lambda: [signature()], lambda: fate.choice(_ODD), lambda: [signature(), fate.choice(_ODD)])
    names = ("callbacks", "errbacks", "chain", "chord")
    return closed(
        *_any(fate, scene, embed={name: fate.choice(parts)() for name in fate.sample(names, fate.randint(1, 4))})
    )


def foreign(fate, scene):
    """Tasks that are none of ours."""
    made, body = _any(fate, scene, task=fate.choice(_FOREIGN))
    inner: dict[str, Any] = {
        "task": "golem.oracle",
        "args": [],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": False,
    }
    args = fate.choice((body[0], [], [inner, [[1]]], ["x", inner, None], [{"task": "celery.backend_cleanup"}, [[]]]))
    return closed(made, [args, fate.choice(({}, {"tasks": [inner], "result": [], "group_id": "x"})), body[2]])


def tags(fate, scene):
    """Delivery tags collide, or name something else."""
    taken = [json.loads(raw)["properties"]["delivery_tag"] for job, raw in scene.sent.items() if job in scene.own]
    made, body = _any(fate, scene)
    made["properties"]["delivery_tag"] = fate.choice(
        (*taken, "same", "same", "a" * 100, "a" * 101, "", "a:b", "\0", "é")
    )
    return closed(made, body)


def routes(fate, scene):
    """Routing keys and exchanges of other queues."""
    made, body = _any(fate, scene)
    for name in fate.sample(("routing_key", "exchange", "redelivered", "x"), 2):
        made["properties"]["delivery_info"][name] = fate.choice(
            (*STAGES, "", "owned", "golem:dead", "*", "golem", *_ODD)
        )
    return closed(made, body)


def huge(fate, scene):
    """Messages of megabytes."""
    size = 1 << fate.choice((20, 21, 22))
    match fate.randrange(5):
        case 0:
            return b"[" * size
        case 1:
            made, body = _any(fate, scene, x="y" * size)
        case 2:
            made, body = _any(fate, scene)
            body[0][0]["transcript"] = {"text": "word " * (size // 5)}
        case 3:
            made, body = _any(fate, scene)
            body[0] *= size // 2000
        case _:
            made, body = _any(fate, scene, id="i" * size + ".scribe")
    return closed(made, body)


def handovers(fate, scene):
    """Well-formed requests that point elsewhere or ask for the impossible."""
    made, body = _any(fate, scene)
    job = body[0][0]["job"]
    for _ in range(fate.choice((1, 2))):
        match fate.randrange(4):
            case 0:
                job["audio"]["key"] = fate.choice(
                    (
                        "file:/etc/passwd",
                        "file:/dev/zero",
                        "vault:../x",
                        "vault:",
                        "",
                        "golem:dead",
                        "vault:*",
                        "file:\0",
                    )
                )
            case 1:
                job.pop("labels", None)
                job["labels_key"] = fate.choice(("golem:dead", "golem:unacked", "scribe", "golem:labels:x", "x", ""))
            case 2:
                job["vocabulary_key"] = fate.choice(("golem:served", "golem:vocabulary:x", "golem:events", ""))
            case _:
                job["labels"] = {
                    "labels": [{"name": words(fate, 6) or "a", "phrasings": [words(fate)]}] * fate.randint(1, 200)
                }
    return closed(made, body)


def replays(fate, scene):
    """A real message once more, as it was or under another tag."""
    made = json.loads(fate.choice(list(scene.sent.values())))
    made["properties"]["delivery_tag"] = f"again-{fate.getrandbits(64):x}"
    return json.dumps(made).encode()


def usurpers(fate, scene):
    """Broken or foreign messages under the id of somebody else's job."""
    job, stage = fate.choice(scene.others), fate.choice(STAGES)
    match fate.randrange(5):
        case 0:
            return closed(*message(scene, job, stage, body=[[], {}, {}]))
        case 1:
            return closed(*message(scene, job, stage, task=fate.choice(_FOREIGN)))
        case 2:
            made, body = message(scene, scene.own[0], stage)
            body[0][0]["job"]["id"] = job
            return closed(made, body)
        case 3:
            made, body = message(scene, job, stage)
            body[0][0]["transcript"] = {"text": "not what was said"}
            return closed(made, body)
        case _:
            return closed(*message(scene, job, stage, body=[[fate.choice(_ODD)], {}, {}]))


def rubbish(fate, scene):
    """A damaged message, or no message at all."""
    if fate.random() < 0.2:
        return fate.randbytes(fate.choice((0, 1, 10, 1000)))
    return damaged(fate, closed(*_any(fate, scene)))


KINDS = {
    one.__name__: one
    for one in (
        *(literals, twins, types, missing, bodies, headers, limits, embeds, foreign, tags, routes, huge, handovers),
        *(replays, usurpers, rubbish),
    )
}
#: How often a kind is drawn. `limits` kills the child, `huge` and `bodies` cost time.
WEIGHTS = {"huge": 0.05, "limits": 0.05, "literals": 3, "types": 3, "headers": 3}
#: Kinds that need to know what only a reader of the queue knows, or that would fill the mix with ends of jobs.
MIXED = [kind for kind in KINDS if kind not in ("limits", "usurpers")]


def draw(fate, scene, kind=None):
    """Return (kind, message)."""
    name = kind or fate.choices(MIXED, [WEIGHTS.get(one, 1) for one in MIXED])[0]
    return name, KINDS[name](fate, scene)
