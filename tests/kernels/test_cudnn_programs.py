"""Convolutions in programs for the GPU: calls of cuDNN, among kernels that g++ runs; the numbers of NumPy."""

import itertools
import re
import types

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cuda_shim
from tests.support import cudnn_standin as standin
from tests.support.convolution_cases import CASES, inputs
from tests.support.interruptions import interrupted, state_of
from tests.support.program_cases import arrays, compiled
from tinyflux.compile.backends.cuda import launches

pytestmark = pytest.mark.usefixtures("compiling", "cudnn")


def check(loss, model, *batch, tolerance=1e-12):
    """A compiled gradient beside NumPy's, twice, with other batches in between; returns the program."""
    there, moved = flux.gpu(model, batch)
    program = compiled(loss, there, moved)
    for scale in (1, -0.5, 1):
        scaled = flux.tree.map(lambda x: (scale * x).astype(x.dtype), batch)  # noqa: B023
        expected, slopes = flux.withgradient(lambda m: loss(m, *scaled), model)  # noqa: B023
        value, found = program(flux.gpu(scaled))
        np.testing.assert_allclose(value._host, expected, rtol=tolerance)
        for a, b in zip(flux.leaves(found), flux.leaves(slopes), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a._host, b, rtol=0, atol=tolerance * np.abs(b).max())
    return program


def convolutions(program):
    return [step for step in program.source.launches if isinstance(step, launches.Convolution)]


def calls(program):
    return [step.function for step in convolutions(program)]


@pytest.mark.parametrize("case", CASES[::5], ids=str)
def test_options(case):
    name, options = case
    x, w = inputs(name, **options)
    options = {key: value for key, value in options.items() if key != "axes"}
    program = check(lambda m, x: np.sum(np.sin(getattr(flux, name)(x, m["w"], **options))), {"w": w}, x)
    assert calls(program) == ["convolve" if name == "conv" else "spread", "correlate"]


def network(dtype):
    flux.seed(0)
    model = flux.Chain(
        flux.Conv((3, 3), 3, 8, flux.relu, pad="same", stride=2),
        flux.Conv((3, 3), 8, 6, flux.tanh, pad=((0, 1), (1, 0)), groups=2),
        flux.ConvTranspose((2, 2), 6, 4, stride=2),
        flux.MaxPool(2),
        flux.flatten,
        flux.Dense(64, 5),
    )
    return flux.tree.map(lambda x: x.astype(dtype), model)


def loss(model, x, y):
    return flux.logitcrossentropy(model(x), y)


def batch(dtype, n=4):
    (x,) = arrays((n, 10, 10, 3), dtype=dtype)
    return x, np.eye(5, dtype=dtype)[np.arange(n) % 5]


def test_a_network():
    program = check(loss, network("d"), *batch("d"))
    assert sorted(calls(program)) == sorted(["convolve"] * 3 + ["spread"] * 2 + ["correlate"] * 3)
    assert len(standin.plans) == 8  # looked for while it was traced, twice, and made once


def test_kernels_take_what_they_use():
    program = check(loss, network("d"), *batch("d"))
    sections = re.findall(r"__forceinline__ void section\d+\((.*?)\) {(.*?)\n}", program.source.text, re.DOTALL)
    assert len(sections) > 5
    for parameters, body in sections:
        for declared in parameters.split(","):
            if "RESTRICT" in declared:
                assert f"{declared.split()[-1]}[" in body


def test_the_cpus_programs_have_none_of_it():
    x, w = inputs("conv", 2, 1)
    compiled_on_the_cpu = flux.compile(lambda x, w: flux.gradient(lambda w: np.sum(flux.conv(x, w) ** 2), w))
    expected = flux.gradient(lambda w: np.sum(flux.conv(x, w) ** 2), w)
    np.testing.assert_allclose(compiled_on_the_cpu(x, w), expected, rtol=1e-12)
    assert not standin.plans


def test_a_networks_second_derivatives():
    """A loss with the gradient of another one in it: products of products, all of them cuDNN's."""
    x, w = inputs("conv", 2, 1)

    def penalised(m, x):
        inner = flux.gradient(lambda x: np.sum(np.tanh(flux.conv(x, m["w"], stride=2, pad=1))), x)
        return np.sum(inner**2)

    program = check(penalised, {"w": w}, x)
    assert set(calls(program)) == {"convolve", "spread", "correlate"}


def test_a_sequence_of_images():
    """In a loop, whose slices and results begin anywhere in an array."""
    w, u = inputs("conv", 1, 1)[1][:3, :, :3], np.cos(np.arange(9.0)).reshape(3, 1, 3)
    x = np.sin(np.arange(4 * 1 * 5 * 3.0)).reshape(4, 1, 5, 3)

    def recurrent(m, x):
        def step(h, x):
            h = np.tanh(flux.conv(x, m["w"], pad=1) + flux.conv(h, m["u"]))
            return h, flux.conv(h, m["u"])

        last, all_ = flux.scan(step, np.zeros_like(x[0]), x)
        return np.sum(last**2) + np.sum(np.sin(all_))

    program = check(recurrent, {"w": w, "u": u}, x)
    assert len(convolutions(program)) > 4 * 3
    assert any(place.start % 2 for step in convolutions(program) for place in step.arrays)


def test_a_training():
    """The trained parameters of the plain path, with several shapes of batches, one of them from the middle of data."""
    x, y = batch(np.float32, 11)
    trained = []
    for move, compile_ in ((flux.cpu, False), (flux.gpu, True)):
        flux.allow_tf32(False)
        model = move(network(np.float32))
        opt = flux.setup(flux.Adam(0.01), model)
        data = flux.DataLoader(move((x, y)), batchsize=4)
        losses = flux.train(loss, model, data, opt, 3, compile=compile_)
        trained.append((losses, flux.leaves(flux.cpu(model))))
    np.testing.assert_allclose(trained[1][0], trained[0][0], rtol=1e-4)
    for a, b in zip(trained[1][1], trained[0][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)
    assert {plan.tensor_cores for plan in standin.plans} == {False}


def test_every_line_of_an_update():
    """An interrupt leaves all of it or nothing, though calls of cuDNN, in Python, come between what it changes."""
    x, y = batch(np.float32, 4)
    items = [flux.gpu((x, y))]

    def make():
        flux.seed(0)
        model = flux.gpu(network(np.float32))
        opt = flux.setup(flux.Adam(0.01), model)
        flux.train(loss, model, items, opt, compile=True)
        return model, opt, [flux.gpu((x + 1, y))]  # in other arrays, for which there is no graph

    def go(model, opt, items):
        flux.train(loss, model, items, opt, compile=True)

    model, opt, others = make()
    expected = [state_of(model, opt)]
    go(model, opt, others)
    expected.append(state_of(model, opt))
    seen = set()
    for at in itertools.count(1, 8):
        model, opt, others = make()
        stopped = interrupted(lambda: go(model, opt, others), at)  # noqa: B023
        seen.add(expected.index(state_of(model, opt)))
        if not stopped:
            break
    assert seen == {0, 1}


def test_tf32_is_asked_for_anew():
    """A program made with TF32 isn't used when TF32 is forbidden, in the same training's next round either."""
    model, data = flux.gpu(network(np.float32)), [flux.gpu(batch(np.float32))]
    opt = flux.setup(flux.Descent(0.0), model)

    def forbid(progress):
        flux.allow_tf32(False)

    means = flux.train(loss, model, data, opt, 2, callbacks=[forbid], compile=True)
    half = len(standin.runs) // 2
    assert {run.tensor_cores for run in standin.runs[:half]} == {True}
    assert {run.tensor_cores for run in standin.runs[half:]} == {False}
    assert 1e-7 < abs(means[0] - means[1]) / means[0] < 1e-2


def test_the_stream_and_the_workspace(monkeypatch):
    """Calls run in the stream of the moment; they share one workspace, large enough for each, which lives on."""
    model, moved = flux.gpu(network("d"), batch("d"))
    program = compiled(loss, model, moved)
    expected = program(moved)[0].item()
    used = set()
    execute = standin.Graph.execute

    def spied(graph, pointers, workspace, handle):
        used.add(workspace)
        execute(graph, pointers, workspace, handle)

    monkeypatch.setattr(standin.Graph, "execute", spied)
    for stream in (7, 8):
        monkeypatch.setattr(standin, "stream", stream)
        assert program(moved)[0].item() == expected
    assert len(used) == 1
    assert len(standin.plans) == 8


def test_updates_leave_no_handles_behind():
    """They are made in threads of their own, where no interrupt comes."""
    items = [flux.gpu(batch("f")) for _ in range(4)]
    model = flux.gpu(network("f"))
    flux.train(loss, model, items, flux.setup(flux.Descent(0.1), model), compile=True)
    assert len(standin.runs) == 8 * len(items)
    assert len(standin.handles) == 1


def test_what_cudnn_cannot_do_is_kernels(monkeypatch):
    monkeypatch.setattr(standin, "unsupported", lambda graph: graph.function == "wgrad")
    program = check(loss, network("d"), *batch("d"))
    assert "correlate" not in calls(program)
    assert len(calls(program)) == 5


def test_a_device_that_lacks_what_was_planned(monkeypatch):
    model, moved = flux.gpu(network("d"), batch("d"))
    program = compiled(loss, model, moved)
    standin.forget()
    monkeypatch.setattr(standin, "unsupported", lambda graph: True)
    from tinyflux.compile.backends.cuda import executable

    results = types.SimpleNamespace(node=types.SimpleNamespace(shape=(), dtype=np.dtype("d")), pointer=0)
    with pytest.raises(flux.NotCompilable, match="cuDNN has no way to convolve arrays of shapes"):
        executable.Executable(program.source, [results], {}, [])


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
def test_kernels_around_it_run_in_any_order(order):
    cuda_shim.order = order
    check(loss, network("d"), *batch("d"))
