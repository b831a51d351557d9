"""Decides whether a model must be packed to fit into the memory budget (GOLEM_BITS=auto). Pure."""

from collections.abc import Callable

from golem_chain.workers.devices.precision import Precision


def fitting(
    form: Precision,
    room_bytes: int,
    need: Callable[[Precision], int],
    fails: Callable[[Precision], bool],
    pack: Callable[[Precision, int], Precision],
) -> Precision:
    """The form itself, if it fits into `room_bytes`; otherwise `pack` of it with weights of 8 bits, else of 4. `need`:
    bytes of weights and of the working memory of one item; `fails`: whether a form was shown to answer otherwise. The
    form itself too if none of them fits: its refusal names what is missing."""
    if form.bits or need(form) <= room_bytes:
        return form
    smaller = [pack(form, bits) for bits in (8, 4)]
    return next((one for one in smaller if not fails(one) and need(one) <= room_bytes), form)
