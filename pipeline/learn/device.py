"""Where and how precisely torch computes, and that it does so the same way every time."""

import os

import torch


def prepare(threads: int) -> torch.device:
    """The device to use, after asking torch for repeatable results on a fixed number of CPU threads."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads it, and filling takes a tenth
    torch.backends.cudnn.benchmark = False
    torch.set_num_threads(threads)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # set by torchrun, one GPU a process
    torch.cuda.set_device(place)
    return place


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
