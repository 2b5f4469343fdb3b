"""Build the libraries of a CUDA device that computes nothing, for ONNX Runtime's CUDA provider.

Which functions of which libraries the provider calls is read from its file; those that ``device.c``
does not define return success. All are in one library. The others, whose names the provider asks
the loader for, are empty and only point to it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import re
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("device.c")
TOOLS = ("gcc", "nm", "readelf")
_LIBRARY = re.compile(r"\[(lib(?:cuda|cudart|cublas|cublasLt|cudnn\w*|curand|cufft)\.so\.\d+)\]")
_FUNCTION = re.compile(r"(?:__)?cu(?:da|blas|blasLt|dnn|rand|fft)?[A-Z]\w*")
_BY_NAME = re.compile(rb"\0((?:cudnn|cufft)[A-Z]\w+)(?=\0)")
"""Functions that the provider looks up while it runs stand in its file as strings."""
_LOADED_BY_NAME = ("libcudnn.so.9",)


def provider_file() -> Path | None:
    """Return the library of the installed runtime's CUDA provider, if it has one."""
    package = importlib.util.find_spec("onnxruntime")
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        for path in Path(folder).glob("capi/libonnxruntime_providers_cuda.so"):
            return path
    return None


def missing_parts() -> str:
    """Return what is missing here for a device that computes nothing, "" if nothing is."""
    if provider_file() is None:
        return "needs a runtime with the CUDA provider: pip install symbucket[cuda]"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"needs {', '.join(absent)} to build a device that computes nothing" if absent else ""


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _functions(provider: Path) -> set[str]:
    undefined = _output("nm", "-D", "--undefined-only", str(provider))
    names = {word.partition("@")[0] for word in undefined.split()}
    names = {name for name in names if _FUNCTION.fullmatch(name)}
    with provider.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return names | {match[1].decode() for match in _BY_NAME.finditer(text)}


def build(folder: Path) -> list[Path]:
    """Write the libraries into ``folder``; return their paths in the order of loading."""
    provider = provider_file()
    assert provider is not None
    device, rest = folder / "libfake_cuda.so", folder / "rest.c"
    shared = ["gcc", "-w", "-O1", "-shared", "-fPIC", "-fno-builtin"]
    _output(*shared, "-o", str(device), str(SOURCE))
    defined = set(_output("nm", "-D", "--defined-only", str(device)).split())
    rest.write_text(
        "".join(f"int {name}(void) {{ return 0; }}\n" for name in _functions(provider) - defined)
    )
    _output(*shared, f"-Wl,-soname,{device.name}", "-o", str(device), str(SOURCE), str(rest))
    libraries = [device]
    for name in {*_LIBRARY.findall(_output("readelf", "-d", str(provider))), *_LOADED_BY_NAME}:
        libraries.append(folder / name)
        link = [f"-Wl,-soname,{name}", "-Wl,--no-as-needed", f"-Wl,-rpath,{folder}", str(device)]
        _output(*shared, "-o", str(libraries[-1]), *link)
    return libraries


class Counts(ctypes.Structure):
    """What the device has done since the process began; see ``device.c``."""

    _fields_ = [
        (name, ctypes.c_long) for name in ("to_device", "to_host", "on_device", "kernels", "waits")
    ]


def load(folder: Path) -> Counts:
    """Build and load the device, before the runtime loads its provider; return its counters."""
    libraries = [ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL) for path in build(folder)]
    return Counts.in_dll(libraries[0], "fake_cuda_counts")
