"""Which form a stage runs in, by name: pure and without torch, so that a worker's parent can ask too."""

from dataclasses import replace

from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.cpu import fast_at_bfloat16, read_flags
from golem_chain.workers.devices.precision import Precision


def dtype_name(
    asked: str,
    card: Card | None,
    stage: str,
    *,
    cross_encoder: bool = False,
    flags: frozenset[str] | None = None,
) -> str:
    """The dtype of a stage's weights in memory: GOLEM_DTYPE (`asked`), or depending on the card (None: a CPU).

    A card uses float16, and bfloat16 for the Oracle if the card computes in it, since language models trained in
    bfloat16 can overflow float16. A CPU uses float32: Whisper entirely in bfloat16 made mistakes (word error rate 0.70;
    the encoder's matrix products alone do not, see `whisper/encoder.py`), and sampled replies depend on the exact
    logits.

    `fast` is the same, except that on a CPU with bfloat16 instructions (`flags`; None: those of this machine) the
    Oracle and an NLI `cross_encoder` interpreter run in bfloat16, both about twice as fast. It is not the default for
    two reasons. A reply then depends on the other jobs in its batch. And it is not shown that intents stay the same:
    no NLI checkpoint was available, so only the architecture with random weights was measured.
    """
    if asked not in ("auto", "fast"):
        return asked
    if card is not None:
        return "bfloat16" if stage == "oracle" and card.has_bfloat16 else "float16"
    if asked == "fast" and (stage == "oracle" or (stage == "interpreter" and cross_encoder)):
        return "bfloat16" if fast_at_bfloat16(read_flags() if flags is None else flags) else "float32"
    return "float32"


def choose(
    asked: str,
    bits: str,
    card: Card | None,
    stage: str,
    *,
    proved: Precision | None = None,
    cross_encoder: bool = False,
    flags: frozenset[str] | None = None,
) -> Precision:
    """The form that a stage runs in: for GOLEM_DTYPE=auto the `proved` one, if a proof has found any; otherwise that of
    `dtype_name`, with bfloat16 products in the Scribe's encoder on a CPU with bfloat16 instructions. GOLEM_BITS
    (`bits`) packs the weights of either; `auto` and `off` do not: what a budget makes necessary is known later."""
    count = int(bits) if bits in ("8", "4") else None
    if asked == "auto" and proved is not None and proved.bits == count:
        return proved
    dtype = dtype_name(asked, card, stage, cross_encoder=cross_encoder, flags=flags)
    products = stage == "scribe" and asked in ("auto", "fast") and card is None
    fast = products and fast_at_bfloat16(read_flags() if flags is None else flags)
    form = Precision(dtype, None, "bfloat16" if fast and dtype == "float32" else None)
    return packed(form, count, asked, card, stage, flags=flags) if count else form


def packed(
    form: Precision, bits: int, asked: str, card: Card | None, stage: str, *, flags: frozenset[str] | None = None
) -> Precision:
    """A form with weights of so many bits. On a CPU with bfloat16 instructions its rows are bfloat16 too, unless
    GOLEM_DTYPE (`asked`) names a dtype: torch multiplies with packed weights in bfloat16 only, and rows in float32 need
    every layer unpacked for every step (4 bit: an Interpreter 5 times as slow for one text, an Oracle 4 times). What is
    packed differs more from float32 than what is rounded so. The Scribe keeps its float32: its encoder unpacks a layer
    once for 1,500 rows anyway, and entirely in bfloat16 it makes mistakes."""
    short = asked in ("auto", "fast") and card is None and stage != "scribe" and form.dtype == "float32"
    if short and fast_at_bfloat16(read_flags() if flags is None else flags):
        return Precision("bfloat16", bits)
    return replace(form, bits=bits)


def computes_as(stored: str, running: str) -> str:
    """What decides the results of weights that are stored in one dtype and run in another: the running one, if the
    conversion to it is the only rounding; otherwise both."""
    return running if stored in ("float32", running) else f"{running} from {stored}"
