"""A card that is not there: tensors that say they are on `cuda:0` and compute on the CPU, with torch's rules of mixing.

torch's own fake tensors have no values, so that a program stops where it first reads one. These have: whole engines
run, with everything behind their reads. What a card refuses is refused here too: an operation on tensors of both
devices, a `numpy()` of a tensor on the card. Mixed dtypes are refused by the CPU's kernels as by those of a card.

Counted are kernels (operations of ATen but views), reads (the host waits for the card), and uploads (the card waits for
the host).
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CARD = torch.device("cuda", 0)
#: Operations that only make another view of the same memory, or read none of it: no kernel.
_VIEWS = frozenset(
    {
        "view", "_unsafe_view", "t", "transpose", "slice", "select", "unsqueeze", "squeeze", "expand", "as_strided",
        "detach", "alias", "permute", "reshape", "flatten", "split",
        "split_with_sizes", "unbind", "lift", "lift_fresh", "unfold",
        "chunk", "empty", "new_empty", "empty_like", "empty_strided", "resize_", "narrow", "diagonal",
    }
)  # fmt: skip
#: Functions that give the host a value of the card.
_READS = frozenset(
    {
        "tolist", "item", "__bool__", "__int__", "__float__", "__index__", "__contains__", "equal", "allclose",
        "is_nonzero", "__format__", "__repr__", "cpu",
    }
)  # fmt: skip
#: Functions that are one kernel of a card, and several of the CPU (torch 2.13, `rms_norm_symint` in layer_norm.cpp).
_FUSED = frozenset({"rms_norm"})
#: Functions whose index may be on the CPU: it is uploaded.
_INDEXED = frozenset({"__getitem__", "__setitem__"})


class MixedDevices(AssertionError):
    """An operation got tensors of the card and of the CPU, which CUDA refuses."""


class OnCard(torch.Tensor):
    """A tensor on the fake card; `held` is the one on the CPU with its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnCard":
        made: OnCard = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), dtype=held.dtype, device=torch.device("meta")
        )
        made.held = held
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert FakeCard.current is not None, f"{_name(func)} of a tensor on the card, outside of FakeCard"
        return FakeCard.current.compute(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override] # torch calls it with the function first
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError(f"{func} reached the dispatcher with a tensor on the card")


class _Kernels(TorchDispatchMode):
    def __init__(self, seen: "Counter[str]") -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, name = func(*args, **(kwargs or {})), func._schema.name.split("::")[1]
        self.seen[name] += not (name == "to" and out is args[0])  # already of that dtype
        return out


class FakeCard(TorchFunctionMode):
    """While it is entered, `device="cuda"` is the fake card."""

    current: "FakeCard | None" = None

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()

    def __enter__(self) -> "FakeCard":
        FakeCard.current = self
        super().__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        FakeCard.current = None
        super().__exit__(*exc)

    @property
    def counts(self) -> dict[str, int]:
        """Kernels, reads and uploads so far."""
        kernels = sum(count for name, count in self.kernels.items() if name not in _VIEWS)
        return {"kernels": kernels, "reads": self.reads.total(), "uploads": self.uploads.total()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.compute(func, args, kwargs or {})

    def compute(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function on the values, after a check of the devices."""
        name = _name(func)
        flat, _ = tree_flatten((args, kwargs))
        on_card = [one for one in flat if isinstance(one, OnCard)]
        if name == "__get__" and on_card:
            return self._attribute(func, on_card[0])
        target = _target(name, args, kwargs)
        if not on_card and (target is None or target.type != "cuda"):
            return func(*args, **kwargs)  # nothing of the card
        if name == "numpy" or name == "__array__":
            raise MixedDevices("can't convert cuda:0 device type tensor to numpy")
        moves = name in ("to", "cpu", "cuda", "copy_")
        if on_card and not moves:
            self._check(name, args, flat)
        wrappers = {id(one.held): one for one in on_card}
        held = [_held(part) for part in (args, kwargs)]
        if target is not None and target.type == "cuda":
            held = [tree_map(lambda one: torch.device("cpu") if one == target or one == "cuda" else one, part)
                    for part in held]  # fmt: skip
        fused = name in _FUSED
        with self._counting(not fused and (bool(on_card) or name not in ("tensor", "to"))):
            out = func(*held[0], **held[1])
        self.kernels[name] += fused
        if name == "cpu" or (name == "to" and target is not None and target.type == "cpu"):
            self.reads[name] += 1
            return out
        if name in _READS:
            self.reads[name] += 1
            return out
        if name in ("tensor", "as_tensor", "to") and not on_card:
            self.uploads[name] += 1
        if name == "__iter__":
            return iter([OnCard(one) for one in out])

        def placed(one: Any) -> Any:
            if not isinstance(one, torch.Tensor):
                return one
            return wrappers[id(one)] if id(one) in wrappers else OnCard(one)

        return tree_map(placed, out)

    def _attribute(self, func: Any, tensor: OnCard) -> Any:
        """An attribute of a tensor on the card: its device is the card."""
        what = getattr(getattr(func, "__self__", None), "__name__", "")
        if what in ("device", "is_cuda", "is_cpu", "is_meta"):
            return {"device": CARD, "is_cuda": True, "is_cpu": False, "is_meta": False}[what]
        out = func(tensor.held)
        return OnCard(out) if isinstance(out, torch.Tensor) else out

    def _check(self, name: str, args: Any, flat: list[Any]) -> None:
        others = [one for one in flat if isinstance(one, torch.Tensor) and not isinstance(one, OnCard) and one.dim()]
        if not others:
            return
        if name in _INDEXED and isinstance(args[0], OnCard):
            index, _ = tree_flatten(args[1])
            if all(any(one is part for part in index) for one in others):
                self.uploads["index"] += 1
                return
        shapes = [tuple(one.shape) for one in others]
        raise MixedDevices(f"{name} got tensors of cuda:0 and of the CPU {shapes}")

    @contextlib.contextmanager
    def _counting(self, counts: bool) -> Iterator[None]:
        with _Kernels(self.kernels) if counts else contextlib.nullcontext():
            yield


def place(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Move a model's parameters and buffers to the fake card: floats in that dtype, but for computed buffers."""
    placed: dict[int, OnCard] = {}  # tied weights stay tied
    for module in model.modules():
        for kind in (module._parameters, module._buffers):
            for name, value in kind.items():
                if value is not None and not isinstance(value, OnCard):
                    kept = kind is module._buffers and name in module._non_persistent_buffers_set
                    held = value.detach().to(dtype) if value.is_floating_point() and not kept else value.detach()
                    kind[name] = placed.setdefault(id(value), OnCard(held))  # type: ignore[assignment] # no Parameter
    return model


def _held(values: Any) -> Any:
    return tree_map(lambda one: one.held if isinstance(one, OnCard) else one, values)


def _name(func: Any) -> str:
    return getattr(func, "__name__", str(func))


def _target(name: str, args: Any, kwargs: Any) -> torch.device | None:
    """The device that a call names, if any."""
    given = [kwargs.get("device"), *(args[1:] if name == "to" else ())]
    if name == "cpu":
        return torch.device("cpu")
    for one in given:
        if isinstance(one, (torch.device, str)):
            return torch.device(one)
        if name == "to" and isinstance(one, torch.Tensor):
            return one.device
    return None
