"""Detects what the CPU is fast at, from its vendor and flags in /proc/cpuinfo."""

import platform
import re
from collections.abc import Mapping
from pathlib import Path

#: Instruction sets with bfloat16 matrix multiplication: AVX512-BF16 (Intel Cooper Lake, AMD Zen 4 and later) and AMX
#: (Intel Sapphire Rapids and later). Without them PyTorch computes bfloat16 through float32, which is slower.
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
_CPUINFO = Path("/proc/cpuinfo")
#: Flags that change which code computes a model: vector and matrix instructions of x86 and of ARM.
_COMPUTING = re.compile(r"sse4_\d|avx\w*|fma|f16c|amx_\w+|asimd\w*|fphp|bf16|i8mm|sve\w*|sme\w*|\w*bf16|\w*i8mm")
#: Variables that hold libraries to fewer instructions than the processor has. Sources: oneDNN, "CPU Dispatcher
#: Control"; PyTorch, aten/src/ATen/native/DispatchStub.cpp; Intel MKL Developer Guide, "Instruction Set Specific
#: Dispatching".
_LIMITS = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")


def flags_of(cpuinfo: str) -> frozenset[str]:
    """The flags common to all cores, from the text of /proc/cpuinfo; empty if it lists none."""
    cores = [
        frozenset(line.partition(":")[2].split())
        for line in cpuinfo.splitlines()
        if line.partition(":")[0].strip() in ("flags", "Features")  # x86, ARM
    ]
    return frozenset.intersection(*cores) if cores else frozenset()


def read_flags() -> frozenset[str]:
    """The flags of this machine; empty if the system is not Linux."""
    return flags_of(_read())


def vendor_of(cpuinfo: str) -> str:
    """The processor's vendor, from the text of /proc/cpuinfo; empty if it names none."""
    found = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("vendor_id"))
    return next(found, "")


def read_vendor() -> str:
    """The vendor of this machine's processor; empty if the system is not Linux."""
    return vendor_of(_read())


def _read() -> str:
    """The text of /proc/cpuinfo; empty if the system is not Linux."""
    try:
        return _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def fast_at_bfloat16(flags: frozenset[str]) -> bool:
    """Whether bfloat16 is faster than float32 with these flags (measured: 2.2 times on AVX512-BF16, 12-layer BART)."""
    return bool(flags & BFLOAT16)


def computing(flags: frozenset[str], environment: Mapping[str, str]) -> str:
    """What decides how this processor computes: its architecture, the instructions that libraries choose their code by,
    and the variables that forbid them some. Two processors with the same text round alike. Pure but for the
    architecture."""
    found = sorted(flag for flag in flags if _COMPUTING.fullmatch(flag))
    limits = [f"{name}={environment[name]}" for name in _LIMITS if environment.get(name)]
    return " ".join(["cpu", platform.machine(), *found, *limits])


def processor_name(cpuinfo: str | None = None) -> str:
    """The processor as its maker calls it, from the text of /proc/cpuinfo (None: read it)."""
    if cpuinfo is None:
        cpuinfo = _read()
    names = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
