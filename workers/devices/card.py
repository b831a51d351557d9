"""A description of a card, and whether a torch build can run on it: pure, so that any card can be asked about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Exist where a driver of NVIDIA's is loaded, whatever torch can use: on a PC, in WSL, on Jetson.
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-gpu", "/dev/nvgpu")
#: Compute capabilities of Jetson boards (Tegra X1, X2, Xavier, Orin, Thor), which do not run binaries for other GPUs of
#: their major version. Sources: NVIDIA, CUDA C++ Programming Guide, "Binary Compatibility" ("supported only for the
#: desktop. It is not supported for Tegra"); torch/cuda/__init__.py, DEVICE_REQUIREMENT.
TEGRA = frozenset({(5, 3), (6, 2), (7, 2), (8, 7), (10, 1)})
#: Capabilities that CUDA 13 renamed: what was built under the old number runs on the new one.
_RENAMED = {(10, 1): (11, 0)}


@dataclass(frozen=True)
class Card:
    """A CUDA GPU as decisions see it."""

    name: str
    capability: tuple[int, int]  # compute capability, major and minor
    total_bytes: int
    free_bytes: int | None = None  # None: not read, since reading it creates the driver's context
    integrated: bool = False  # shares its memory with the CPU

    @property
    def has_bfloat16(self) -> bool:
        """Whether it computes in bfloat16 itself: compute capability 8.0 (Ampere) or newer. torch's
        `is_bf16_supported()` counts emulation too, which is slower than float32. Source: NVIDIA, CUDA C++ Programming
        Guide, "Feature Support per Compute Capability"."""
        return self.capability >= (8, 0)


def driver_loaded() -> bool:
    """Whether NVIDIA's driver is loaded. Touches no device."""
    return any(Path(path).exists() for path in DRIVERS)


def unsupported_card(card: Card, built_for: Sequence[str]) -> str | None:
    """Why a build of torch for these architectures cannot run on the card; None if it can.

    A binary (`sm_75`) runs on cards of the same major version and the same or a higher minor version, on Tegra only on
    its own version. PTX (`compute_90`) is compiled at run time for the same or any newer version. A suffix limits it:
    `a` to exactly this version, `f` to its family, the same major version from this minor on. Sources: NVIDIA, CUDA C++
    Programming Guide, "Binary Compatibility", "PTX Compatibility", "Feature Set Compiler Targets".
    """
    if any(_runs(arch, card.capability) for arch in built_for):
        return None
    major, minor = card.capability
    return f"its compute capability {major}.{minor} is not in this torch build ({', '.join(built_for) or 'none'})"


def _runs(arch: str, capability: tuple[int, int]) -> bool:
    kind, _, number = arch.partition("_")
    digits, suffix = number.rstrip("af"), number[len(number.rstrip("af")) :]
    if kind not in ("sm", "compute") or len(digits) < 2 or not digits.isdigit():
        return False
    built = int(digits[:-1]), int(digits[-1])
    if capability in (built, _RENAMED.get(built)):
        return True
    if suffix == "a" or (kind == "sm" and (built in TEGRA or capability in TEGRA)):
        return False
    if kind == "sm" or suffix == "f":
        return built[0] == capability[0] and built[1] <= capability[1]
    return built <= capability
