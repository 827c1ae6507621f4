"""CUDA's kernels on the CPU: `RawModule` stands in for CuPy's, with g++ and shim.h in the place of NVRTC and a GPU.

It is stricter than CuPy, which passes every argument on as the bytes it has: a number of another type than the kernel's
parameter is refused, and so is an array of another.
"""

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import device_standin
import numpy as np
from device_standin import DeviceArray

from tinyflux.optimise.kernels import launch

GXX = shutil.which("g++")
FLAGS = ["-x", "c++", "-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing"]
FLAGS += ["-Wno-unknown-pragmas", "-Wl,-Bsymbolic"]  # names such as `step` are the kernel's own, not the C library's
SHIM = (Path(__file__).parent / "shim.h").read_text(encoding="utf-8")
DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "int": np.int32,
    "long long": np.int64,
    "unsigned": np.uint32,
}
MULTIPROCESSORS, RESIDENT = 2, 3  # of the device: few, so that a thread has several vectors to do
ORDERS = {  # of the blocks, and of the threads of a block
    "forward": np.arange,
    "backward": lambda count: np.arange(count)[::-1],
    "shuffled": lambda count: np.random.default_rng(count).permutation(count),
}

order = "forward"
extra_flags = []  # of the compiler
launches = []  # of all kernels: grid, block and arguments


class ShimError(Exception):
    """What a GPU would not report: it would calculate with wrong numbers, or hang."""


class RawModule:
    """`cupy.RawModule`, as far as it is used."""

    def __init__(self, code, options=()):
        assert code.isascii()  # CuPy writes it to a file in the encoding of the locale
        self.code, self.options = code, options

    def get_function(self, name):
        return RawKernel(self.code, name)


class RawKernel:
    """A kernel: `kernel(grid, block, args)`."""

    def __init__(self, code, name):
        self.types = parameter_types(code, name)
        self.library = ctypes.CDLL(str(built(f"{SHIM}{code}{wrapper(name, self.types)}")))
        self.library.launch.restype = ctypes.c_char_p
        self.kernel = types.SimpleNamespace(ptr=0)

    def __call__(self, grid, block, args):
        launches.append((grid, block, args))
        values = [checked(*pair) for pair in zip(args, self.types, strict=True)]
        addresses = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
        orders = [np.ascontiguousarray(ORDERS[order](count), np.uint32) for count in (*grid, *block)]
        fault = self.library.launch(*grid, *block, *[o.ctypes.data_as(ctypes.c_void_p) for o in orders], addresses)
        if fault:
            raise ShimError(fault.decode())


def parameter_types(code, name):
    """The types of a kernel's parameters, with float or double for T."""
    parameters = re.search(rf'extern "C" __global__[^{{;]*?\b{name}\(([^()]*)\)', code)[1]
    (real,) = re.findall(r"using T = (\w+);", code) or ["float"]
    types = [re.sub(r"\s*\b\w+$", "", parameter.strip()) for parameter in parameters.split(",")]
    return [re.sub(r"\bT\b", real, kind) for kind in types]


def wrapper(name, types):
    arguments = ", ".join(f"*static_cast<{kind}*>(arguments[{i}])" for i, kind in enumerate(types))
    return f"""
extern "C" const char* launch(unsigned grid, unsigned block, const unsigned* blocks, const unsigned* threads,
                              void** arguments) {{
    shim::kernel = [](void** arguments) {{ {name}({arguments}); }};
    shim::arguments = arguments;
    return shim::run(grid, block, blocks, threads);
}}
"""


def checked(value, kind):
    """The bytes of an argument for a parameter of this type; an error where CUDA would misread them."""
    plain = kind.replace("const ", "").strip()
    if plain.endswith("*") and type(value) is np.uint64 and not value:  # a null pointer
        return np.array(value)
    if plain.endswith("*"):
        expected = np.dtype(np.uint64 if plain.endswith("* const*") else DTYPES[plain.rstrip("*")])
        if value.dtype != expected or not value.flags.c_contiguous:
            raise ShimError(f"{kind} takes a contiguous array of {expected}; got one of {value.dtype}")
        return np.array(value.data.ptr, np.uint64)
    if type(value) is not DTYPES[plain]:
        raise ShimError(f"{kind} takes a {DTYPES[plain].__name__}; got a {type(value).__name__}")
    return np.array(value)


def built(code):
    """The library of this source, from a folder of the user's own where earlier runs have left it."""
    folder = Path(tempfile.gettempdir()) / f"tinyflux-shim-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid()
    command = [GXX, *FLAGS, *extra_flags]
    target = folder / f"{hashlib.sha256(repr((command, code)).encode()).hexdigest()}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            result = Path(work) / "kernel.so"
            subprocess.run([*command, "-", "-o", str(result)], input=code, text=True, encoding="utf-8", check=True)
            result.replace(target)
    return target


class Device(contextlib.nullcontext):
    """`cupy.cuda.Device`, as far as it is used."""

    def __init__(self, number=0):
        super().__init__()
        self.id = number
        self.attributes = {"MultiProcessorCount": MULTIPROCESSORS}


def install(monkeypatch):
    """Have the stand-in for CuPy run kernels, and its arrays tell their addresses."""
    module = device_standin.cupy_module()
    module.RawModule = RawModule
    module.cuda.Device = Device
    module.cuda.driver = types.SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda *args: RESIDENT)
    memory = property(lambda self: types.SimpleNamespace(ptr=self._host.ctypes.data, device_id=0))
    monkeypatch.setattr(DeviceArray, "data", memory, raising=False)
    monkeypatch.setattr(DeviceArray, "device", property(lambda self: Device()), raising=False)
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(sys.modules[__name__], "order", "forward")
    launches.clear()
    launch._compiled.cache_clear()
    return module
