"""Iterations of which many are one launch, of a graph or a kernel: all promises hold as if they came one by one."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cuda_shim, graphs
from tests.support.device_standin import DeviceArray, counted
from tests.support.graph_cases import RULES, STEP, Stop, batchnormed, check_as_one_by_one, one_by_one, stopping, trained
from tests.support.interruptions import interrupted, state_of
from tests.support.program_cases import InOrder, data, loss, network
from tests.support.state_cases import running
from tinyflux.compile.backends.cuda import persistent
from tinyflux.training import cuda_engine

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.fixture(autouse=True, params=["graphs", "one kernel"])
def way(compiling, monkeypatch, request):
    """How iterations are launched; a kernel makes all of a launch where they are small."""
    graphs.launched.clear()
    monkeypatch.setattr(cuda_engine, "SECONDS", 1e9)  # g++ takes longer
    if request.param == "graphs":
        monkeypatch.setattr(persistent, "WORK", 0)
    return request.param


CASES = [(network, rule, order) for rule in RULES for order in cuda_shim.ORDERS]
CASES += [(make, rule, "shuffled") for make in (running, batchnormed) for rule in RULES]


@pytest.mark.parametrize(("make", "rule", "order"), CASES)
def test_a_pass(rule, make, order, way):
    """The first iteration is launched kernel by kernel, and losses are read behind a graph of 16; 13 and 30 follow."""
    cuda_shim.order = order
    size = 1 if make is network else 5
    check_as_one_by_one(one_by_one(30 * size, size), rule=rule, make=make)
    assert len(graphs.launched) == ((1 + 4) + 6 if way == "graphs" else 0)


def test_a_pass_is_read_seldom():
    """More and more losses at a time, as long as they come quickly."""
    model = flux.gpu(network())
    opt = flux.setup(flux.Descent(0.1), model)
    _, reads = counted(lambda: flux.train(loss, model, one_by_one(150)(flux.gpu), opt, compile=True))
    assert reads == 4  # 17, 34, 68, and the rest


@pytest.mark.parametrize("at", [0, 5, 16, 17, 30, 49])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_in_the_middle_of_a_graph_that_is_not_finite(at, bad):
    """What was before it stands, and nothing comes of those behind it, though they were launched with it."""

    def batches(move, n=50):
        x, y = data(n)
        x[at] = bad
        return InOrder(move((x, y)), 1)

    for make in (network, running):
        found = trained(flux.gpu, batches, make=make, epochs=1, error=flux.NonFiniteLoss)
        assert f"at item {at} of epoch 1" in found[0][-1]
        if at:
            expected = trained(flux.gpu, lambda move: InOrder(move(data(50)), 1), make=make, epochs=1, error=Stop,
                               callbacks=[lambda: stopping(at)])  # fmt: skip
            assert found[0][:-1] == expected[0][:-1]
            for a, b in zip(found[1], expected[1], strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("at", [1, 16, 23])
def test_an_error_in_a_callback(at):
    """The updates until then stand, and no other."""
    check_as_one_by_one(one_by_one(), error=Stop, callbacks=[lambda: stopping(at)])


@pytest.mark.parametrize("every", [1, 3, 16, 20])
def test_what_callbacks_change(every):
    """A learning rate, a frozen layer, a layer's state: from the next update on, and not before."""

    def changing():
        def change(progress):
            if progress.epoch_ended:
                return
            if progress.iteration == every:
                flux.adjust(progress.opt, eta=0.2)
            if progress.iteration == 2 * every:
                flux.freeze(progress.opt.layers[1])
            assert progress.iteration % every == 0

        change.due = lambda iteration: iteration + every
        return change

    check_as_one_by_one(one_by_one(), make=running, callbacks=[changing], epochs=1)


def test_what_callbacks_see():
    """Arrays of a layer's state stay as they were when the callback was called."""
    seen = []

    def looking():
        def look(progress):
            seen.append((progress.iteration, progress.model[0].batches))

        look.due = lambda iteration: iteration + 20
        return look

    trained(flux.gpu, one_by_one(), make=running, callbacks=[looking])
    assert [(n, b.tolist()) for n, b in seen] == [(n, [n]) for n in (20, 40, 50, 60, 80, 100, 100)]


def test_what_a_generator_sees():
    """The same between two items."""
    seen = []
    model = flux.gpu(running())
    batch = flux.gpu(data(10))

    def items():
        for _ in range(5):
            yield batch
            seen.append(model[0].batches)

    flux.train(loss, model, items(), flux.setup(flux.Descent(0.1), model), compile=True)
    assert [x.tolist() for x in seen] == [[1], [2], [3], [4], [5]]


@pytest.mark.parametrize("size", [3, 16, 49, 50])
def test_a_last_short_batch(size):
    check_as_one_by_one(one_by_one(50, size), epochs=4)


def test_the_same_item_again(way):
    """It is a graph of one iteration; items in other arrays are launched kernel by kernel."""
    item = flux.gpu(data(10))
    check_as_one_by_one(lambda move: [item if move is flux.gpu else flux.cpu(item)] * 6)
    assert len(graphs.launched) == 11
    graphs.launched.clear()
    check_as_one_by_one(lambda move: [move(data(10)) for _ in range(6)])
    assert not graphs.launched


def test_a_batch_that_is_all_data():
    check_as_one_by_one(lambda move: flux.DataLoader(move(data(30)), 30), epochs=7)
    assert len(graphs.launched) == 6


def test_validation():
    """It reads the model between two passes, and leaves it as it is."""
    losses = []
    for move, option in ((lambda x: x, False), (flux.gpu, True)):
        model = move(batchnormed())
        held_back = move(tuple(a[:20] for a in data(30)))
        opt = flux.setup(flux.Adam(0.01), model)
        history = flux.train(loss, model, one_by_one(100, 5)(move), opt, 3, validation=held_back, compile=option)
        losses.append([*history, *history.validation["loss"]])
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert history.engine == "CUDA kernels"


@pytest.mark.parametrize("size", [5, 16, 27])
def test_a_last_short_batch_that_is_left_out(size):
    """With 27 of 32 samples, one batch is the whole pass."""
    check_as_one_by_one(lambda move: flux.DataLoader(move(data(32)), size, partial=False), epochs=4)


@pytest.mark.parametrize("every", [1, 3])
def test_a_parameter_that_is_a_number(every):
    """Its update has the shape of the step counter's, which is read as it was."""
    x = np.linspace(-1, 1, 40, dtype=np.float32)
    results = []
    for move, option in ((lambda x: x, False), (flux.gpu, True)):
        model = move([np.array(0.5, np.float32), np.array(0.2, np.float32)])
        opt = flux.setup(flux.Descent(flux.schedules.Step(0.1, every=every, gamma=0.5)), model)
        value = lambda m, x: np.sum(np.sin(m[0] * x) * m[1] - x) ** 2 + np.sum(np.cos(x + m[0]))  # noqa: E731
        losses = flux.train(value, model, InOrder(move(x), 4), opt, 2, compile=option)
        results.append([*losses, *flux.cpu(model)])
    np.testing.assert_allclose(*results, rtol=1e-4)


def test_the_numbers_of_the_state():
    """They are counted on the device, and read when somebody asks."""
    model = flux.gpu(network())
    opt = flux.setup(RULES[2], model)
    flux.train(loss, model, InOrder(flux.gpu(data(40)), 1), opt, compile=True)
    assert opt.layers[0].weight.numbers[-1] == 40
    flux.train(loss, model, InOrder(flux.gpu(data(3)), 1), opt, compile=True)
    assert opt.layers[0].weight.numbers[-1] == 43
    _, grads = flux.withgradient(lambda m: loss(m, *flux.gpu(data(5))), model)
    flux.update(opt, model, grads)
    flux.train(loss, model, InOrder(flux.gpu(data(20)), 1), opt, compile=True)
    assert opt.layers[0].weight.numbers[-1] == 64


def test_steps_that_are_not_due():
    """Gradients are gathered across the ends of graphs, and of launches."""
    rule = flux.OptimiserChain(flux.AccumGrad(3), flux.Adam(STEP))
    check_as_one_by_one(one_by_one(30), rule=rule)


def test_what_a_graph_cannot_hold_is_launched_one_by_one(monkeypatch, capsys):
    monkeypatch.setattr(persistent, "WORK", 0)

    def refuse(self, mode=None):
        raise RuntimeError("cudaErrorStreamCaptureUnsupported")

    monkeypatch.setattr(graphs.Stream, "begin_capture", refuse)
    check_as_one_by_one(one_by_one())
    assert not graphs.launched
    said = "kernels are launched one by one, as a CUDA graph can't hold them: cudaErrorStreamCaptureUnsupported"
    assert capsys.readouterr().err.count(said) == 1


def test_arrays_in_another_layout_are_read_as_they_are():
    """An array of the surroundings that is copied for each launch, so that it is in no graph."""
    results = []
    for option in (False, True):
        there = flux.gpu(np.arange(12, dtype=np.float32))[::4]

        def change(progress):
            there[...] = there + 1  # noqa: B023

        change.due = lambda iteration: iteration + 5
        model = flux.gpu(network())
        opt = flux.setup(flux.Descent(0.01), model)
        value = lambda m, x, y: loss(m, x, y * there)  # noqa: B023, E731
        flux.train(value, model, InOrder(flux.gpu(data(30)), 1), opt, callbacks=[change], compile=option)
        results.append(flux.cpu(flux.leaves(model)))
    assert not graphs.launched
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_data_that_is_part_of_a_parameter_is_left_to_cupy():
    """Eager code reads a batch before the update."""
    model = flux.gpu(network())
    opt = flux.setup(flux.Descent(0.1), model)
    x = model.layers[0].weight[:6]
    assert x.shape == (6, 6)
    with pytest.raises(flux.NotCompilable, match="the data is a parameter of the model, or a view of one"):
        flux.train(loss, model, flux.DataLoader((x, flux.gpu(data(6)[1])), 2), opt, compile=True)


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
def test_an_item_that_is_part_of_a_parameter(order):
    """Behind others of the same form: the rest is left to the next engine."""
    cuda_shim.order = order

    ends = []
    for move, option in ((lambda x: x, False), (flux.gpu, "auto")):
        model, (x, y) = move(network()), move(data(6))
        opt = flux.setup(flux.Descent(1.0), model)
        flux.train(loss, model, [(x, y), (model.layers[0].weight[:6], y), (x, y)], opt, 2, compile=option)
        ends.append(flux.cpu(flux.leaves(model)))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", RULES[:4], ids=repr)
def test_parameters_that_read_each_other(rule):
    """The gradient of each is calculated of the other as it was, whichever is overwritten first."""
    ends = []
    for move, option in ((lambda x: x, False), (flux.gpu, True)):
        model, x = move({"p": np.linspace(1, 2, 4), "q": np.linspace(-1, 1, 4)}), move(np.ones((6, 4)))
        opt = flux.setup(rule, model)
        flux.train(lambda m, x: np.sum((m["p"] * m["q"]) ** 2 * np.sum(x)), model, [x] * 3, opt, compile=option)
        ends.append(flux.cpu(flux.leaves(model)))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_another_device_than_the_current_one(monkeypatch):
    """Kernels run, and arrays are written, on the one where the model lies."""
    current, wrong = [0], []

    class Device(cuda_shim.Device):
        def __enter__(self):
            current.append(self.id)

        def __exit__(self, *error):
            current.pop()

    def noted(function):
        def call(*arguments):
            if current[-1] != 1:
                wrong.append(function.__qualname__)
            return function(*arguments)

        return call

    def value(m, x, k):
        return np.sum(m["p"][k] * x)

    x, k = np.ones((40, 3), np.float32), np.arange(40) % 5
    k[30] = 7
    model, items = flux.gpu(({"p": np.zeros((5, 3), np.float32)}, (x, k)))
    opt = flux.setup(flux.Adam(0.01), model)
    monkeypatch.setattr(DeviceArray, "device", property(lambda self: Device(1)))
    for kind, name in ((DeviceArray, "__setitem__"), (cuda_shim.RawKernel, "__call__"), (graphs.Graph, "launch")):
        monkeypatch.setattr(kind, name, noted(getattr(kind, name)))
    with pytest.raises(IndexError):
        flux.train(value, model, InOrder(items, 1), opt, compile=True)
    assert not wrong


def test_long_trainings_are_read_after_a_second(monkeypatch):
    monkeypatch.setattr(cuda_engine, "SECONDS", -1.0)
    model = flux.gpu(network())
    opt = flux.setup(flux.Descent(0.1), model)
    _, reads = counted(lambda: flux.train(loss, model, one_by_one(40)(flux.gpu), opt, compile=True))
    assert reads == 4 + 9  # 17, 8, 4 and 2, then each


@pytest.mark.parametrize("rule", [RULES[2], RULES[3]], ids=repr)
def test_every_line_of_a_pass(rule):
    """An interrupt leaves whole updates, the state of layers and the numbers of the optimiser's state with them."""

    def make():
        flux.seed(0)
        model, loader = flux.gpu(running()), InOrder(flux.gpu(data(60)), 3)
        opt = flux.setup(rule, model)
        flux.train(loss, model, loader, opt, compile=True)
        return model, opt, loader

    def go(model, opt, loader, *callbacks):
        flux.train(loss, model, loader, opt, callbacks=callbacks, compile=True)

    model, opt, loader = make()
    allowed = [state_of(model, opt)]
    go(model, opt, loader, lambda progress: allowed.append(state_of(model, opt)))
    assert len(allowed) == 1 + 20 + 1
    at = 1
    while True:
        model, opt, loader = make()
        stopped = interrupted(lambda: go(model, opt, loader), at)  # noqa: B023
        assert state_of(model, opt) in allowed, f"split at line {at}"
        if not stopped:
            break
        at += 41
    assert at > 100
