"""Tells failures of a device apart, by the type and text of an exception: short memory, a broken context, no kernels.

torch raises most of them as a RuntimeError, so that only the text differs. Imports no torch, and asks no device, which
may not answer any more.
"""

import re
from enum import StrEnum


class Fault(StrEnum):
    """What is wrong with the device, and what helps."""

    MEMORY = "memory"  # an allocation failed: a smaller batch
    CONTEXT = "context"  # every later call in this process fails, or may answer wrongly: another process
    KERNELS = "kernels"  # torch or a library of CUDA has no code for this card: another build


#: An allocation failed. The driver, cuBLAS and cuDNN allocate beside PyTorch's allocator, in words of their own; where
#: NVML cannot be asked (Jetson, MIG), PyTorch's report on a failed allocation fails itself (pytorch issue 185240).
_MEMORY = re.compile(
    r"out of memory|DefaultCPUAllocator: (can't allocate|not enough) memory|(CUBLAS|CUSPARSE|CUDNN)_STATUS_ALLOC_FAILED"
    r"|CUDNN_STATUS_INTERNAL_ERROR_(HOST|DEVICE)_ALLOCATION_FAILED"
    r"|NVML_SUCCESS == .* INTERNAL ASSERT FAILED at \"[^\"]*CUDACachingAllocator",
    re.DOTALL,
)
_KERNELS = re.compile(
    r"no kernel image is available|invalid device function|device kernel image is invalid|PTX JIT compilation failed"
    r"|PTX was compiled with an unsupported toolchain|(CUBLAS|CUDNN)_STATUS_(NOT_SUPPORTED_)?ARCH_MISMATCH"
)
#: A call with wrong arguments, which leaves the context as it was. Source: pytorch, c10/cuda/CUDAMiscFunctions.h,
#: `isStickyGpuError`: "a CUDA error that is not an invalid argument error is considered sticky".
_HARMLESS = re.compile(
    r"invalid argument|invalid configuration argument|STATUS_(INVALID_VALUE|BAD_PARAM|NOT_SUPPORTED)"
)
#: Everything else that CUDA, its libraries and PyTorch's allocator report.
_CONTEXT = re.compile(
    r"CUDA error: |CUDA driver error: |CUDA unknown error|cuDNN (Frontend )?error: |device-side assert triggered"
    r"|unable to find an engine to execute this computation|No CUDA GPUs are available"
    r"|INTERNAL ASSERT FAILED at \"[^\"]*(c10|aten|ATen)[^\"]*[/\\]cuda"
)


def fault_of(exc: BaseException) -> Fault | None:
    """What is wrong with the device; None if the exception has another cause."""
    return classify([kind.__name__ for kind in type(exc).__mro__], str(exc))


def classify(kinds: list[str], text: str) -> Fault | None:
    """As `fault_of`, for an exception of this class (with those that it derives from) and this text. Pure."""
    if "MemoryError" in kinds or "OutOfMemoryError" in kinds:  # Python's, torch's
        return Fault.MEMORY
    if "RuntimeError" not in kinds:
        return None
    if _MEMORY.search(text):
        return Fault.MEMORY
    if _KERNELS.search(text):
        return Fault.KERNELS
    if _HARMLESS.search(text):
        return None
    return Fault.CONTEXT if "AcceleratorError" in kinds or _CONTEXT.search(text) else None


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether an allocation failed."""
    return fault_of(exc) is Fault.MEMORY


def first_line(exc: BaseException) -> str:
    """The first line of what an exception says, at most 200 characters: what follows are hints for programmers."""
    lines = str(exc).strip().splitlines()
    return (lines[0] if lines else type(exc).__name__)[:200]
