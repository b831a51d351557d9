"""Each text is one that torch, CUDA or its libraries really say, with where it comes from."""

import pytest
import torch

from golem_chain.workers.devices.faults import Fault, classify, fault_of, first_line, is_out_of_memory

RUNTIME = ["RuntimeError", "Exception"]
ACCELERATOR = ["AcceleratorError", *RUNTIME]
#: What c10/cuda/CUDAException.cpp appends to a CUDA error.
HINTS = (
    "\nSearch for `cudaErrorX' in https://docs.nvidia.com/cuda/ for more information.\nCUDA kernel errors might be\n"
)

MEMORY = [
    # c10/cuda/CUDACachingAllocator.cpp, `malloc`
    (
        ["OutOfMemoryError", *RUNTIME],
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4 GiB",
    ),
    # c10/cuda/CUDAException.cpp with cudaErrorMemoryAllocation: the driver had no room for a context or a module
    (ACCELERATOR, "CUDA error: out of memory" + HINTS),
    # c10/cuda/driver_api.h, C10_CUDA_DRIVER_CHECK: expandable segments
    (RUNTIME, "CUDA driver error: out of memory"),
    # aten/src/ATen/cuda/Exceptions.h, TORCH_CUDABLAS_CHECK; CublasHandlePool.cpp
    (RUNTIME, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    # aten/src/ATen/cuda/Exceptions.h, AT_CUDNN_CHECK; cuDNN 8 and 9
    (RUNTIME, "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    (RUNTIME, "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    (RUNTIME, "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    # pytorch issues 185240, 112377 and 130486: where NVML cannot be asked
    (
        RUNTIME,
        'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/opt/pytorch/c10/cuda/CUDACachingAllocator.cpp":1131, please',
    ),
    (
        RUNTIME,
        "NVML_SUCCESS == DriverAPI::get()->nvmlDeviceGetHandleByPciBusId_v2_( pci_id, &nvml_device) INTERNAL ASSERT "
        'FAILED at "../c10/cuda/CUDACachingAllocator.cpp":815, please report a bug to PyTorch.',
    ),
    # c10/core/impl/alloc_cpu.cpp on Linux and on Windows
    (RUNTIME, "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"),
    (RUNTIME, "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to allocate"),
    (["MemoryError", "Exception"], ""),
]
CONTEXT = [
    # cudaGetErrorString of cudaErrorIllegalAddress, Assert, LaunchFailure, LaunchTimeout, ECCUncorrectable,
    # MisalignedAddress, Unknown, DevicesUnavailable, SystemDriverMismatch
    *[
        (ACCELERATOR, f"CUDA error: {text}{HINTS}")
        for text in (
            "an illegal memory access was encountered",
            "device-side assert triggered",
            "unspecified launch failure",
            "the launch timed out and was terminated",
            "uncorrectable ECC error encountered",
            "misaligned address",
            "unknown error",
            "CUDA-capable device(s) is/are busy or unavailable",
            "system has unsupported display driver / cuda driver combination",
        )
    ],
    # before torch 2.8 there was no AcceleratorError
    (RUNTIME, "CUDA error: an illegal memory access was encountered" + HINTS),
    # aten/src/ATen/cuda/Exceptions.h
    (RUNTIME, "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb, m, n, k)`"),
    (RUNTIME, "CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasCreate(handle)`"),
    (RUNTIME, "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    (RUNTIME, "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    (RUNTIME, "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    (RUNTIME, "cuDNN error: CUDNN_STATUS_MAPPING_ERROR"),
    # torch-max-mem issue 45: PyTorch's allocator after a failed expansion of a segment
    (
        RUNTIME,
        '!handles_.at(i) INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":430, please report',
    ),
    (RUNTIME, "CUDA driver error: device not ready"),
    # aten/src/ATen/native/cudnn/Conv_v8.cpp: every plan failed, of memory or because the context is broken
    (RUNTIME, "GET was unable to find an engine to execute this computation"),
    # torch/cuda/__init__.py and c10/cuda/CUDAFunctions.cpp, in a process that starts after the driver was lost
    (RUNTIME, "No CUDA GPUs are available"),
    (RUNTIME, "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env variable"),
]
KERNELS = [
    (ACCELERATOR, "CUDA error: no kernel image is available for execution on the device" + HINTS),
    (ACCELERATOR, "CUDA error: the provided PTX was compiled with an unsupported toolchain." + HINTS),
    (RUNTIME, "CUDA error: CUBLAS_STATUS_ARCH_MISMATCH when calling `cublasGemmEx( handle, opa, opb, m, n, k)`"),
    (RUNTIME, "cuDNN error: CUDNN_STATUS_ARCH_MISMATCH"),
]
OTHER = [
    (ACCELERATOR, "CUDA error: invalid argument" + HINTS),
    (ACCELERATOR, "CUDA error: invalid configuration argument" + HINTS),
    (RUNTIME, "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( handle, opa, opb, m, n, k)`"),
    (
        RUNTIME,
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    ),
    (RUNTIME, "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    (RUNTIME, "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    (
        RUNTIME,
        'index >= 0 INTERNAL ASSERT FAILED at "/pytorch/c10/core/TensorImpl.h":5, please report a bug to PyTorch.',
    ),
    (["ValueError", "Exception"], "CUDA error: out of memory"),
]
TABLE = [
    (*one, fault)
    for fault, many in ((Fault.MEMORY, MEMORY), (Fault.CONTEXT, CONTEXT), (Fault.KERNELS, KERNELS), (None, OTHER))
    for one in many
]


@pytest.mark.parametrize(("kinds", "text", "fault"), TABLE)
def test_a_failure_of_the_device_is_known_by_its_text(kinds, text, fault):
    assert classify(kinds, text) is fault


def test_the_classes_that_torch_raises_are_known():
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 50)
    for exc in (real.value, MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")):
        assert is_out_of_memory(exc)
    assert fault_of(torch.AcceleratorError("CUDA error: unspecified launch failure")) is Fault.CONTEXT
    assert fault_of(torch.AcceleratorError("a text that is not known yet")) is Fault.CONTEXT
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_what_is_told_is_one_line():
    assert first_line(RuntimeError("CUDA error: misaligned address" + HINTS)) == "CUDA error: misaligned address"
    assert first_line(MemoryError()) == "MemoryError"
    assert len(first_line(RuntimeError("x" * 999))) == 200
