"""Print what to configure llama.cpp with: the processor's vector units, and no more.

`GGML_NATIVE` would take AMX where there is some, and llama.cpp then ends with SIGILL on quantized
models; without it cmake takes AVX2 for granted. What quantizes is C, optimized as releases are; the
C++ around it is compiled in half the time.
"""

from __future__ import annotations

import platform
from pathlib import Path

UNITS = ("sse4_2", "avx", "avx2", "bmi2", "fma", "f16c")  # as /proc/cpuinfo names them
PARTS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_CXX_FLAGS=-DNDEBUG",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_NATIVE=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_COMMON=ON",
    *(f"-DLLAMA_BUILD_{part}=OFF" for part in ("APP", "EXAMPLES", "SERVER", "TESTS", "TOOLS")),
)


def units() -> set[str]:
    """Return what the processor has; nothing where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())


def flags() -> list[str]:
    if platform.machine() not in {"x86_64", "AMD64"}:
        return list(PARTS)
    has = units()
    names = {unit: unit.upper().replace("SSE4_2", "SSE42") for unit in UNITS}
    return [*PARTS, *(f"-DGGML_{names[unit]}={'ON' if unit in has else 'OFF'}" for unit in UNITS)]


if __name__ == "__main__":
    print(*flags())
