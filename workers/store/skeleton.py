"""A model without weights: built once on the meta device, filled and emptied by swapping pointers."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from golem_chain.shared.errors import ModelCorrupt

#: Buffers that older files hold and today's classes compute: never an error when there are too many of them.
_COMPUTED = re.compile(r"(^|\.)(position_ids|masked_bias|attn\.bias|inv_freq|token_type_ids)$")
_NAMED_AT_MOST = 3


#: What draws initial weights. On the meta device nothing is drawn, but by way of Python and half a second of imports.
_DRAWS = frozenset({"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_", "zeros_", "ones_"})


class _WithoutWeights(TorchFunctionMode):
    """`torch.empty`, by which layers make their parameters, gives meta tensors, and these are not initialised; all else
    is real, so that buffers that are computed (rotary frequencies, position ids) keep their values."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        drawn = args[0] if args else kwargs.get("tensor")
        if isinstance(drawn, torch.Tensor) and drawn.is_meta and getattr(func, "__name__", "") in _DRAWS:
            return drawn
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Slot:
    """One tensor of the model and every place that refers to it: tied weights have several names."""

    names: tuple[str, ...]
    places: tuple[tuple[nn.Module, str], ...]
    meta: nn.Parameter | torch.Tensor
    is_parameter: bool


class Skeleton:
    """The modules of a model, their weights on the meta device until `fill`.

    Non-persistent buffers are kept on the CPU as they were computed and copied to the device with each `fill`.
    """

    def __init__(self, make: Callable[[Any], nn.Module], config: Any, dtype: torch.dtype) -> None:
        before = torch.get_default_dtype()
        try:
            torch.set_default_dtype(dtype)  # what is computed takes the type that from_pretrained would give it
            with _WithoutWeights():
                self.model = make(config)
        finally:
            torch.set_default_dtype(before)
        self.model.eval()
        self.model.requires_grad_(False)
        self._slots = [*self._parameters(), *self._persistent_buffers()]
        self._computed = self._computed_buffers()
        if any(value.is_meta for _, _, value in self._computed):
            raise ModelCorrupt(f"{type(self.model).__name__} has a computed buffer that this loader cannot restore.")
        self.clear()

    def _places(self, kind: str) -> dict[int, list[tuple[str, nn.Module, str]]]:
        """Tensors by identity → (full name, module, attribute)."""
        found: dict[int, list[tuple[str, nn.Module, str]]] = {}
        for prefix, module in self.model.named_modules(remove_duplicate=False):
            for attribute, value in getattr(module, kind).items():
                if value is not None:
                    name = f"{prefix}.{attribute}" if prefix else attribute
                    found.setdefault(id(value), []).append((name, module, attribute))
        return found

    def _parameters(self) -> list[Slot]:
        slots = []
        for places in self._places("_parameters").values():
            _, module, attribute = places[0]
            parameter = module._parameters[attribute]
            assert parameter is not None
            meta = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
            names, spots = tuple(name for name, _, _ in places), tuple((m, a) for _, m, a in places)
            slots.append(Slot(names, spots, meta, is_parameter=True))
        return slots

    def _persistent_buffers(self) -> list[Slot]:
        return [
            Slot((name,), ((module, attribute),), value.detach().to("meta"), is_parameter=False)
            for name, module, attribute, value in self._buffers()
            if attribute not in module._non_persistent_buffers_set
        ]

    def _computed_buffers(self) -> list[tuple[nn.Module, str, torch.Tensor]]:
        return [
            (module, attribute, value)
            for _, module, attribute, value in self._buffers()
            if attribute in module._non_persistent_buffers_set
        ]

    def _buffers(self) -> Iterable[tuple[str, nn.Module, str, torch.Tensor]]:
        for prefix, module in self.model.named_modules():
            for attribute, value in module._buffers.items():
                if value is not None:
                    yield f"{prefix}.{attribute}" if prefix else attribute, module, attribute, value

    def fill(self, tensors: Mapping[str, torch.Tensor], device: torch.device, dtype: torch.dtype, file: str) -> None:
        """Point the modules at `tensors` (by their names in the file), on `device`, floats as `dtype`.

        Raises ModelCorrupt where a tensor is missing, left over or of another shape; the model is then empty.
        """
        chosen = self.match(tensors, file)
        try:
            for slot, tensor in zip(self._slots, chosen, strict=True):
                kind = dtype if tensor.is_floating_point() else tensor.dtype
                placed = tensor.to(device, kind, non_blocking=True)
                self._put(slot, nn.Parameter(placed, requires_grad=False) if slot.is_parameter else placed)
            for module, attribute, value in self._computed:
                module._buffers[attribute] = value.to(device)
        except BaseException:
            self.clear()
            raise

    def clear(self) -> None:
        """Back to the meta device: no module refers to a weight any more."""
        for slot in self._slots:
            self._put(slot, slot.meta)
        for module, attribute, value in self._computed:
            module._buffers[attribute] = value

    @staticmethod
    def _put(slot: Slot, value: torch.Tensor) -> None:
        for module, attribute in slot.places:
            if slot.is_parameter:
                module._parameters[attribute] = value  # type: ignore[assignment]
            else:
                module._buffers[attribute] = value

    def match(self, tensors: Mapping[str, torch.Tensor], file: str) -> list[torch.Tensor]:
        """The tensor for each slot, in their order. Raises ModelCorrupt, naming at most three of what is wrong."""
        prefix = getattr(self.model, "base_model_prefix", "")
        renamed = rename([*tensors], {name for slot in self._slots for name in slot.names}, prefix)
        by_name = {new: tensors[old] for old, new in renamed.items()}
        known = {name for slot in self._slots for name in slot.names}
        missing, misshapen, chosen = [], [], []
        for slot in self._slots:
            tensor = next((by_name[name] for name in slot.names if name in by_name), None)
            if tensor is None:
                missing.append(slot.names[0])
            elif tensor.shape != slot.meta.shape:
                misshapen.append(f"{slot.names[0]} {list(tensor.shape)} instead of {list(slot.meta.shape)}")
            else:
                chosen.append(tensor)
        wrong = [*_said("missing", missing), *_said("of another shape", misshapen)]
        wrong += _said(
            "not known to the model", [name for name in by_name if name not in known and not self._spare(name)]
        )
        if wrong:
            raise ModelCorrupt(
                f"{file} is not a {type(self.model).__name__} of its config.json: {'; '.join(wrong)}. "
                "Run `golem models pull` again."
            )
        return chosen

    def _spare(self, name: str) -> bool:
        patterns = getattr(self.model, "_keys_to_ignore_on_load_unexpected", None) or ()
        # An encoder without its head: what the file has of a pooler or of another task is not needed.
        head = not getattr(self.model, "base_model_prefix", "") or not _has_prefix(self.model)
        outside = head and name.split(".")[0] not in dict(self.model.named_children())
        return bool(_COMPUTED.search(name)) or outside or any(re.search(pattern, name) for pattern in patterns)


def _has_prefix(model: nn.Module) -> bool:
    return hasattr(model, str(getattr(model, "base_model_prefix", "")))


def _said(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return [f"{what}: {', '.join(names[:_NAMED_AT_MOST])}{more}"]


def rename(held: list[str], known: set[str], prefix: str) -> dict[str, str]:
    """Names in a file → names in a model. Pure.

    A file of the bare model lacks the prefix that the model with a head has, and the other way round
    (`h.0…` ↔ `transformer.h.0…`); files older than 2019 say gamma and beta for a norm's weight and bias.
    """
    renamed = {}
    for name in held:
        modern = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
        candidates = [name, modern]
        if prefix:
            candidates += [f"{prefix}.{modern}", modern.removeprefix(f"{prefix}.")]
        renamed[name] = next((candidate for candidate in candidates if candidate in known), name)
    return renamed
