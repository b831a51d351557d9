"""A model's modules without weights: built once on the meta device, filled and emptied by swapping tensors."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.workers.store.packed.blocks import Packed, bits_of, pack, packs_as
from golem_chain.workers.store.packed.files import parts, scales_of
from golem_chain.workers.store.packed.modules import Place, held_bytes, install, pairs_of

_Named = tuple[str, torch.Tensor | Packed]  # a tensor with its name in the file

#: Buffers that older files contain and current classes compute: ignored if the model does not have them.
_COMPUTED = re.compile(r"(^|\.)(position_ids|masked_bias|attn\.bias|inv_freq|token_type_ids)$")
_NAMED_AT_MOST = 3


#: Functions that initialise weights. On the meta device they do nothing, but take half a second of imports to do so.
_DRAWS = frozenset({"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_", "zeros_", "ones_"})


class _WithoutWeights(TorchFunctionMode):
    """Makes `torch.empty`, which layers use for their parameters, return meta tensors, and skips their initialisation.
    Everything else is real, so that computed buffers (rotary frequencies, position ids) keep their values."""

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
    """A tensor of the model with every place that refers to it; tied weights have several names."""

    names: tuple[str, ...]
    places: tuple[tuple[nn.Module, str], ...]
    meta: nn.Parameter | torch.Tensor
    is_parameter: bool


class Skeleton:
    """A model's modules, with weights on the meta device until `fill`.

    Non-persistent buffers stay on the CPU as computed, and every `fill` copies them to the device.
    """

    def __init__(
        self, make: Callable[[Any], nn.Module], config: Any, dtype: torch.dtype, bits: int | None = None
    ) -> None:
        """With `bits`, 8 or 4, the large matrices are packed."""
        self._bits = bits
        before = torch.get_default_dtype()
        try:
            torch.set_default_dtype(dtype)  # gives computed buffers the same dtype as from_pretrained
            with _WithoutWeights():
                self.model = make(config)
        finally:
            torch.set_default_dtype(before)
        self.model.eval()
        self.model.requires_grad_(False)
        self.places = install(self.model) if bits else []
        self._slots = [*self._parameters(), *self._persistent_buffers()]
        self._computed = self._computed_buffers()
        if any(value.is_meta for _, _, value in self._computed):
            raise ModelCorrupt(
                f"{type(self.model).__name__} has a computed buffer that this loader cannot restore: choose another "
                "model."
            )
        self.clear()

    def _found(self, kind: str) -> dict[int, list[tuple[str, nn.Module, str]]]:
        """Identity of each tensor → its (full name, module, attribute) entries."""
        found: dict[int, list[tuple[str, nn.Module, str]]] = {}
        for prefix, module in self.model.named_modules(remove_duplicate=False):
            for attribute, value in getattr(module, kind).items():
                if value is not None:
                    name = f"{prefix}.{attribute}" if prefix else attribute
                    found.setdefault(id(value), []).append((name, module, attribute))
        return found

    def _parameters(self) -> list[Slot]:
        slots = []
        for places in self._found("_parameters").values():
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

    def fill(
        self,
        tensors: Mapping[str, torch.Tensor | Packed],
        device: torch.device,
        dtype: torch.dtype,
        file: str,
        copied: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Set the weights to `tensors` (by their names in the file), moved to `device`, floats converted to `dtype`,
        large matrices packed. `copied` is told the name of each tensor that was not taken as it is.

        Raises ModelCorrupt if a tensor is missing, unexpected or of the wrong shape; the model is then empty.
        """
        chosen, packable = self.match(tensors, file)
        try:
            for slot, (name, tensor) in zip(self._slots, chosen, strict=True):
                placed = _plain(tensor, device, dtype)
                self._put(slot, nn.Parameter(placed, requires_grad=False) if slot.is_parameter else placed)
                if placed is not tensor:
                    copied(name)
            for place, (name, tensor) in zip(self.places, packable, strict=True):
                packed = self.pack(place, tensor)
                if packed is not tensor or device.type != "cpu":
                    copied(name)
                pairs = pairs_of(packed, dtype, device)
                if pairs is not None:
                    copied(scales_of(name, packed))
                moved = packed.to(device)
                for layer in place.modules:
                    layer.hold(moved, dtype, pairs)
            for module, attribute, value in self._computed:
                module._buffers[attribute] = value.to(device)
        except BaseException:
            self.clear()
            raise

    def pack(self, place: Place, tensor: torch.Tensor | Packed) -> Packed:
        """What a packed layer holds: what the file has, if it has the wanted bits, or can have no other."""
        assert self._bits is not None
        turned = place.modules[0].turned
        if isinstance(tensor, Packed):
            if tensor.turned != turned:
                return pack(tensor.dense(torch.float32), self._bits, turned=turned)
            return tensor if tensor.kind == self.kind(tensor.kind, tensor.shape) else pack(tensor, self._bits)
        return pack(tensor, self._bits, turned=turned)

    def nbytes(
        self, kinds: Mapping[str, tuple[str | None, tuple[int, ...]]], dtype: torch.dtype, device: torch.device
    ) -> int:
        """Bytes of the weights after a `fill` from a file with tensors of these kinds and shapes (`described`)."""
        total = sum(
            slot.meta.numel() * (dtype if slot.meta.is_floating_point() else slot.meta.dtype).itemsize
            for slot in self._slots
        )
        known = {name for place in self.places for name in place.names}
        renamed = rename([*kinds], known, getattr(self.model, "base_model_prefix", ""))
        held = {renamed[name]: kind for name, (kind, _) in kinds.items()}
        for place in self.places:
            shape = place.modules[0].shape
            kind = self.kind(next((held[name] for name in place.names if name in held), None), shape)
            total += held_bytes(kind, shape, dtype, device)
        return total

    def kind(self, held: str | None, shape: tuple[int, int]) -> str:
        """The kind in which a matrix (out, in) is held, of the kind in the file: GGUF's blocks stay as they came."""
        assert self._bits is not None
        ours = packs_as(shape, self._bits)
        return held if held is not None and (held.startswith("q") or bits_of(held) == bits_of(ours)) else ours

    def packed(self, tensors: Mapping[str, torch.Tensor | Packed], file: str) -> dict[str, torch.Tensor]:
        """The tensors of a model by their names in a file, with the large matrices packed, as parts. For a copy in
        memory. Raises ModelCorrupt."""
        chosen, packable = self.match(tensors, file)
        found: dict[str, torch.Tensor] = {}
        for name, tensor in chosen:
            found[name] = tensor.dense(torch.float32) if isinstance(tensor, Packed) else tensor
        for place, (name, tensor) in zip(self.places, packable, strict=True):
            found |= parts(name, self.pack(place, tensor))
        return found

    def clear(self) -> None:
        """Put the meta tensors back, so that no module refers to a weight."""
        for slot in self._slots:
            self._put(slot, slot.meta)
        for place in self.places:
            for layer in place.modules:
                layer.hold(None, layer.dtype)
        for module, attribute, value in self._computed:
            module._buffers[attribute] = value

    @staticmethod
    def _put(slot: Slot, value: torch.Tensor) -> None:
        for module, attribute in slot.places:
            if slot.is_parameter:
                module._parameters[attribute] = cast(nn.Parameter, value)
            else:
                module._buffers[attribute] = value

    def match(self, tensors: Mapping[str, torch.Tensor | Packed], file: str) -> tuple[list[_Named], list[_Named]]:
        """The tensor for each slot, and for each packed layer, in order, with their names in the file. Raises
        ModelCorrupt, naming up to three tensors per kind of mismatch."""
        prefix = getattr(self.model, "base_model_prefix", "")
        wanted = [(slot.names, tuple(slot.meta.shape)) for slot in self._slots]
        wanted += [(place.names, place.modules[0].file_shape) for place in self.places]
        known = {name for names, _ in wanted for name in names}
        renamed = rename([*tensors], known, prefix)
        by_name = {new: (old, tensors[old]) for old, new in renamed.items()}
        missing, misshapen, chosen = [], [], []
        for names, shape in wanted:
            named = next((by_name[name] for name in names if name in by_name), None)
            if named is None:
                missing.append(names[0])
            elif _shape(named[1]) != shape:
                misshapen.append(f"{names[0]} {list(_shape(named[1]))} instead of {list(shape)}")
            else:
                chosen.append(named)
        wrong = [*_listed("missing", missing), *_listed("wrong shape", misshapen)]
        wrong += _listed("unexpected", [name for name in by_name if name not in known and not self._ignored(name)])
        if wrong:
            raise ModelCorrupt(
                f"{file} does not match the {type(self.model).__name__} of its config.json: {'; '.join(wrong)}. "
                "Run `golem models pull` again."
            )
        return chosen[: len(self._slots)], chosen[len(self._slots) :]

    def _ignored(self, name: str) -> bool:
        patterns = getattr(self.model, "_keys_to_ignore_on_load_unexpected", None) or ()
        # A bare encoder does not need a pooler or another task's head.
        head = not getattr(self.model, "base_model_prefix", "") or not _has_prefix(self.model)
        outside = head and name.split(".")[0] not in dict(self.model.named_children())
        return bool(_COMPUTED.search(name)) or outside or any(re.search(pattern, name) for pattern in patterns)


def _has_prefix(model: nn.Module) -> bool:
    return hasattr(model, str(getattr(model, "base_model_prefix", "")))


def _shape(tensor: torch.Tensor | Packed) -> tuple[int, ...]:
    return tensor.file_shape if isinstance(tensor, Packed) else tuple(tensor.shape)


def _plain(tensor: torch.Tensor | Packed, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    if isinstance(tensor, Packed):
        return tensor.to(device).dense(dtype)
    return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype, non_blocking=True)


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return [f"{what}: {', '.join(names[:_NAMED_AT_MOST])}{more}"]


def rename(held: list[str], known: set[str], prefix: str) -> dict[str, str]:
    """Map names in a file to names in a model. Pure.

    A file of the bare model lacks the prefix of the model with a head, and vice versa (`h.0…` ↔ `transformer.h.0…`);
    files from before 2019 call a norm's weight and bias gamma and beta.
    """
    renamed = {}
    for name in held:
        modern = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
        candidates = [name, modern]
        if prefix:
            candidates += [f"{prefix}.{modern}", modern.removeprefix(f"{prefix}.")]
        renamed[name] = next((candidate for candidate in candidates if candidate in known), name)
    return renamed
