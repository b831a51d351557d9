"""Detects which dtypes the CPU is fast at, from the flags in /proc/cpuinfo."""

from pathlib import Path

#: Instruction sets with bfloat16 matrix multiplication: AVX512-BF16 (Intel Cooper Lake, AMD Zen 4 and later) and AMX
#: (Intel Sapphire Rapids and later). Without them PyTorch computes bfloat16 through float32, which is slower.
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
_CPUINFO = Path("/proc/cpuinfo")


def flags_of(cpuinfo: str) -> frozenset[str]:
    """The flags common to all cores, from the text of /proc/cpuinfo; empty if it lists none."""
    cores = [
        frozenset(line.partition(":")[2].split())
        for line in cpuinfo.splitlines()
        if line.partition(":")[0].strip() == "flags"
    ]
    return frozenset.intersection(*cores) if cores else frozenset()


def read_flags() -> frozenset[str]:
    """The flags of this machine; empty if the system is not Linux."""
    try:
        return flags_of(_CPUINFO.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return frozenset()


def fast_at_bfloat16(flags: frozenset[str]) -> bool:
    """Whether bfloat16 is faster than float32 with these flags (measured: 2.2 times on AVX512-BF16, 12-layer BART)."""
    return bool(flags & BFLOAT16)
