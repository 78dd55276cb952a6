"""Where, how precisely and how repeatably torch computes, and what a machine can do at once."""

import os

import joblib
import torch

CORES_A_GPU_NETWORK = 3  # that one training on a GPU keeps busy: its own loop, and readers
GIB_A_GPU_NETWORK = 24


def prepare(threads: int, deterministic: bool = False) -> torch.device:
    """The device to use, on a fixed number of CPU threads.

    A CPU gives the same bytes every time, which costs nothing there; a GPU does if `deterministic`, and otherwise takes
    the fastest algorithms.
    """
    gpu = torch.cuda.is_available()
    repeatable = deterministic or not gpu
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    torch.use_deterministic_algorithms(repeatable)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads it, and filling takes a tenth
    torch.backends.cudnn.benchmark = not repeatable
    torch.set_num_threads(threads)
    if not gpu:
        return torch.device("cpu")
    # LOCAL_RANK counts the processes of `torchrun`, one a GPU, or the networks that train side by side
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    torch.cuda.set_device(place)
    return place


def networks_at_once() -> int:
    """Networks that this machine trains side by side: one a core, or as many as its GPUs and their cores can feed."""
    cores = joblib.cpu_count()
    if not torch.cuda.is_available():
        return cores
    gpus = torch.cuda.device_count()
    gib = torch.cuda.get_device_properties(0).total_memory / 2**30
    return gpus * max(1, int(min(gib / GIB_A_GPU_NETWORK, cores / gpus / CORES_A_GPU_NETWORK)))


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware: on a CPU it is otherwise emulated, and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def autocast(device: torch.device) -> torch.autocast:
    """Mixed precision in bfloat16 where the hardware has it, else float32; a context."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


def describe(device: torch.device) -> str:
    """Device, threads and precision, for the record of a run."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    return f"{name}, {'bfloat16' if has_bfloat16(device) else 'float32'}"
