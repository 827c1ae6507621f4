"""A stand-in for CuPy where there is no GPU: arrays that NumPy reaches by its protocols alone, as it reaches CuPy's.

A `DeviceArray` keeps its numbers in a NumPy array that nobody else sees. It takes part in NumPy's functions and ufuncs
where CuPy has them (`cupy_functions.json`, recorded from CuPy itself), with the parameters that CuPy has, and refuses
what CuPy refuses: to become a NumPy array by itself, and to be calculated with NumPy arrays. Reductions give arrays of
no axes, not numbers; turning one into a number is counted, since it waits for the GPU. It is stricter in two places:
cupy.einsum and cupy.savez take NumPy arrays, too.
"""

import inspect
import json
import types
from pathlib import Path

import numpy as np

CAN = json.loads((Path(__file__).parent / "cupy_functions.json").read_text())
UFUNCS = frozenset(CAN["ufuncs"])
SIGNATURES = {
    name: inspect.signature(eval(f"lambda {parameters}: None")) for name, parameters in CAN["functions"].items()
}
REDUCED = {"reduce": {"add", "multiply"}, "accumulate": {"add", "multiply"}, "at": {"add"}}
REDUCTIONS = {"sum", "prod", "max", "min", "amax", "amin", "mean", "var", "std", "any", "all", "argmax", "argmin"}
COMPARISONS = {"greater", "greater_equal", "less", "less_equal", "equal", "not_equal"}
AS_ARRAY = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}
# CuPy brings the arguments of these to the device, or back, by itself.
TAKES_NUMPY = {*AS_ARRAY, "take", "take_along_axis", "tile"}
REFUSED = {  # what CuPy's functions don't do although their parameters allow it
    "concatenate": lambda arrays, *args, **options: not all(isinstance(x, DeviceArray) for x in arrays),
    "stack": lambda arrays, *args, **options: not all(isinstance(x, DeviceArray) for x in arrays),
    "linalg.solve": lambda a, b: b.ndim > 1 and a.shape[:-1] != b.shape[:-1],
    "pad": lambda array, pad_width, **options: isinstance(pad_width, dict),
    "dot": lambda a, b: not (isinstance(a, DeviceArray) and isinstance(b, DeviceArray)),
    "tensordot": lambda a, b, axes=2: 0 in (a.ndim, b.ndim) and axes not in (0, ((), ())),
}
COPYING = {"astype", "copy", "flatten", "repeat", "take"}
ATTRIBUTES = ["dtype", "itemsize", "nbytes", "ndim", "shape", "size", "strides"]
METHODS = [
    "all", "any", "argmax", "argmin", "argpartition", "argsort", "astype", "clip", "conj", "copy", "cumprod", "cumsum",
    "diagonal", "dot", "flatten", "max", "mean", "min", "nonzero", "prod", "ravel", "repeat", "reshape", "round",
    "searchsorted", "squeeze", "std", "sum", "swapaxes", "take", "trace", "transpose", "var", "view",
]  # fmt: skip

synchronisations = 0  # how often a value was read from the device
busy = lambda: ""  # noqa: E731  # why the current stream can't be asked for anything now


def synchronise():
    global synchronisations
    refuse_while_busy()
    synchronisations += 1


def refuse_while_busy():
    if busy():
        raise RuntimeError(f"the device is asked for something while {busy()}")


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Behaves as `cupy.ndarray` does."""

    __slots__ = ("_host", "base")
    __array_priority__ = 100

    def __init__(self, host, base=None):
        self._host = host
        self.base = base

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        refuse_while_busy()
        name = ufunc.__name__
        if name not in UFUNCS or method not in ("__call__", "outer", *REDUCED):
            return NotImplemented
        refuse_axis(inputs[0], options.get("axis"))
        if method in REDUCED and name not in REDUCED[method]:
            raise NotImplementedError(f"`cupy_{name}.{method}` is not supported yet")
        if method == "at":
            return add_at(*inputs) if check_operands(inputs) and name == "add" else NotImplemented
        if name in COMPARISONS:
            inputs = [x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs]
        if not check_operands((*inputs, *out)):
            return NotImplemented
        if out:
            options["out"] = tuple(x._host for x in out)
        result = getattr(ufunc, method)(*opened(tuple(inputs)), **opened(options))
        return out[0] if out else closed(result, inputs)

    def __array_function__(self, function, kinds, args, kwargs):
        refuse_while_busy()
        name = ".".join([*function.__module__.split(".")[1:], function.__name__])
        if name not in SIGNATURES or any(kind not in (DeviceArray, np.ndarray) for kind in kinds):
            return NotImplemented
        SIGNATURES[name].bind(*args, **kwargs)  # a TypeError for what CuPy's function doesn't know
        if name not in TAKES_NUMPY:
            refuse_numpy((args, kwargs))
        if name in AS_ARRAY:
            return asarray(*args, **kwargs)
        if name in REDUCTIONS:
            refuse_axis(*[*args, *([kwargs["axis"]] if "axis" in kwargs else []), None][:2])
        if name in REFUSED and REFUSED[name](*args, **kwargs):
            raise TypeError(f"{name}: CuPy can't do this")
        if name == "linalg.slogdet":
            return tuple(closed(y, ()) for y in function(*opened(args)))  # a tuple without names
        return closed(function(*opened(args), **opened(kwargs)), (args, kwargs))

    def __getitem__(self, index):
        if any(getattr(i, "dtype", None) == np.bool_ for i in (index if isinstance(index, tuple) else (index,))):
            synchronise()  # the shape of the result depends on values
        return closed(self._host[opened(index)], (self,))

    def __setitem__(self, index, value):
        refuse_while_busy()
        refuse_numpy(value)
        self._host[opened(index)] = opened(value)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def get(self):
        synchronise()
        return self._host.copy()

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self):
        return bool(self.get())

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __repr__(self):
        return repr(self._host)

    def __format__(self, spec):
        return format(self.get(), spec)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    @property
    def T(self):
        return closed(self._host.T, (self,))

    @property
    def flags(self):
        flags = self._host.flags
        return types.SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous)

    @property
    def data(self):
        """An address at which there is no kernel for parameters: they are stepped by CuPy. See tests/kernels."""
        return types.SimpleNamespace(ptr=self._host.ctypes.data | 1, device_id=0)

    @property
    def __cuda_array_interface__(self):
        return {**self._host.__array_interface__, "version": 3}


def _method(name):
    def method(self, *args, **options):
        refuse_numpy((args, options) if name != "take" else ())
        if name in REDUCTIONS:
            refuse_axis(self, [*args, options.get("axis")][0])
        if {"where", "initial"} & options.keys():
            raise TypeError(f"{name}() got an unexpected keyword argument")
        if name in COPYING:
            refuse_while_busy()
        return closed(getattr(self._host, name)(*opened(args), **opened(options)), (self,))

    return method


for _name in METHODS:
    setattr(DeviceArray, _name, _method(_name))
for _name in ATTRIBUTES:
    setattr(DeviceArray, _name, property(lambda self, name=_name: getattr(self._host, name)))


def check_operands(operands):
    """TypeError for a NumPy array among the operands of a ufunc; False where there is something else unknown."""
    known = all(isinstance(x, (DeviceArray, np.ndarray, bool, int, float, complex, np.generic)) for x in operands)
    if known:
        for x in operands:
            if isinstance(x, np.ndarray):
                raise TypeError(f"Unsupported type {type(x)}")
    return known


def refuse_axis(x, axis):
    """AxisError for an axis of an array without axes, which NumPy's reductions allow."""
    if axis is not None and axis != () and not x.ndim:
        raise np.exceptions.AxisError(f"axis {axis} is out of bounds for array of dimension 0")


def refuse_numpy(x):
    """TypeError for a NumPy array with axes anywhere in the arguments of a function."""
    if isinstance(x, np.ndarray) and x.ndim:
        raise TypeError(f"Unsupported type {type(x)}")
    for item in x if isinstance(x, (tuple, list)) else x.values() if isinstance(x, dict) else ():
        refuse_numpy(item)


def add_at(array, index, values):
    """`cupy.add.at`, which takes an index of any form; np.add.at passes on no tuple and no list."""
    check_operands((array, values))
    np.add.at(array._host, opened(index), opened(values))


def opened(x):
    """The NumPy arrays inside."""
    if isinstance(x, DeviceArray):
        return x._host
    if type(x) in (tuple, list):
        return type(x)(opened(item) for item in x)
    return {key: opened(item) for key, item in x.items()} if type(x) is dict else x


def closed(y, sources):
    """What NumPy gave, as the device would give it: arrays stay there, and those of no axes are no numbers."""
    if isinstance(y, (tuple, list)) and any(isinstance(item, (np.ndarray, np.generic)) for item in y):
        items = [closed(item, sources) for item in y]
        return type(y)(*items) if hasattr(y, "_fields") else type(y)(items)
    if isinstance(y, np.generic):
        return DeviceArray(np.asarray(y))
    if not isinstance(y, np.ndarray):
        return y
    owner = next((s for s in arrays_in(sources) if root(s._host) is root(y)), None)
    return DeviceArray(y, None if owner is None else owner if owner.base is None else owner.base)


def arrays_in(x):
    if isinstance(x, DeviceArray):
        yield x
    for item in x if isinstance(x, (tuple, list)) else x.values() if isinstance(x, dict) else ():
        yield from arrays_in(item)


def root(x):
    return x if x.base is None else x.base


def asarray(x, dtype=None, order=None, **options):
    """`cupy.asarray`: NumPy arrays and numbers are copied to the device."""
    if isinstance(x, DeviceArray):
        return x if dtype is None or x.dtype == dtype else x.astype(dtype)
    refuse_while_busy()
    host = np.array(x, dtype)
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    return DeviceArray(host)


class RawKernel:
    """Runs the one kernel that `gpu_status` tries, and no other."""

    def __init__(self, code, name):
        self.code = code

    def __call__(self, grid, block, args):
        assert "x[threadIdx.x] *= 2" in self.code
        args[0]._host.reshape(-1)[: block[0]] *= 2


class RandomState:
    """Draws what `cupy.random.RandomState` draws, in other orders."""

    def __init__(self, seed):
        assert type(seed) is int
        assert 0 <= seed < 2**64
        self._rng = np.random.default_rng(seed)

    def permutation(self, n):
        assert type(n) is int
        return DeviceArray(self._rng.permutation(n))


def cupy_module():
    """A module that can stand in `sys.modules` for CuPy."""
    runtime = types.SimpleNamespace(
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13020,
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        getDeviceProperties=lambda device: {"name": b"Stand-in"},
    )
    module = types.ModuleType("cupy")
    module.ndarray, module.asarray, module.RawKernel = DeviceArray, asarray, RawKernel
    module.add = types.SimpleNamespace(at=add_at)
    module.random = types.SimpleNamespace(RandomState=RandomState)
    module.cuda = types.SimpleNamespace(runtime=runtime, is_available=lambda: True)
    module.__version__ = CAN["version"]
    return module


def counted(f, *args):
    """What f returns, and how often it read from the device."""
    before = synchronisations
    result = f(*args)
    return result, synchronisations - before
