"""Which device and number type a pass uses; torch is imported only where that takes it.

bfloat16 is chosen where the hardware multiplies it natively (AMX, AVX512-BF16, ARM's BF16, CUDA >=
8.0). Measured on 2 cores with AVX512-BF16: a 2,048 x 384 x 1,536 product runs at 988 GFLOP/s in
bfloat16 and 178 in float32. Where it is emulated it is slower than float32.
"""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

from featcache.errors import MachineError

DTYPES = ("float32", "bfloat16", "float16")


def resolve_device(requested: str) -> str:
    """Choose the device of a pass.

    Args:
        requested: "cpu", "cuda", "mps", or "auto" for the first of cuda, mps and cpu there is.

    Returns:
        The device.

    Raises:
        MachineError: The requested device is not available.
    """
    if requested == "cpu" or (requested == "auto" and not _may_have_accelerator()):
        return "cpu"
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if requested == "auto":
        return next((name for name, exists in available.items() if exists), "cpu")
    if not available.get(requested, False):
        msg = (
            f"the device {requested!r} is not available: PyTorch does not find one on this machine"
        )
        raise MachineError(msg, cure="Use --device cpu, or install a PyTorch built for the device.")
    return requested


def resolve_dtype(requested: str, device: str) -> str:
    """Choose the number type of a pass.

    Args:
        requested: A type, or "auto" for bfloat16 where the device multiplies it natively and
            float32 elsewhere.
        device: cpu, cuda or mps.

    Returns:
        The number type.
    """
    if requested != "auto":
        return requested
    if device == "cuda":
        import torch

        return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float32"
    return "bfloat16" if device == "cpu" and _cpu_has_bfloat16() else "float32"


def _may_have_accelerator() -> bool:
    """Return False only if there is surely none, so that torch need not be imported to know."""
    if platform.system() != "Linux":
        return True
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively."""
    if platform.system() == "Darwin":
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "hw.optional.arm.FEAT_BF16"],
            capture_output=True,
            text=True,
            check=False,
        )
        return answer.stdout.strip() == "1"
    return bool(cpu_flags() & {"amx_bf16", "avx512_bf16", "bf16"})


@cache
def cpu_flags() -> frozenset[str]:
    """Features of the processor on Linux, such as "avx512_bf16"; empty on other systems.

    Products in bfloat16 are left out where oneDNN was told not to use them: it would emulate them.
    """
    try:
        described = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return frozenset()
    lines = [line for line in described.splitlines() if line.startswith(("flags", "Features"))]
    flags = frozenset(lines[0].split()) if lines else frozenset()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    native = any(name in limit for name in ("DEFAULT", "BF16", "FP16", "AMX"))
    return flags if native else flags - {"amx_bf16", "avx512_bf16"}
