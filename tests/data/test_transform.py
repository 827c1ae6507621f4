"""DataLoader's transform: what it is given, that it can be repeated, and training with it."""

import json

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.data import DataLoader, normalise, random_crop, random_flip

X = np.random.default_rng(0).integers(0, 256, (22, 6, 5, 3), np.uint8)
Y = np.arange(22)
MEAN, STD = (120, 125, 130), (60, 65, 70)


def augment(batch, rng):
    images, labels = batch
    return normalise(random_flip(random_crop(images, rng, 2), rng), MEAN, STD), labels


def loader(seed=0, **options):
    options = {"shuffle": True, "transform": augment, "rng": np.random.default_rng(seed), **options}
    return DataLoader((X, Y), 4, **options)


def flat(batches):
    return [(x.tolist(), y.tolist()) for x, y in batches]


@pytest.mark.parametrize("shuffle", [False, True])
def test_it_is_given_each_batch_and_a_generator(shuffle):
    seen = []

    def transform(batch, rng):
        seen.append((batch[1].tolist(), rng))
        return "in its place"

    assert list(loader(transform=transform, shuffle=shuffle)) == ["in its place"] * 6
    assert [len(numbers) for numbers, _ in seen] == [4, 4, 4, 4, 4, 2]
    assert sorted(number for numbers, _ in seen for number in numbers) == list(range(22))
    assert all(type(rng) is np.random.Generator for _, rng in seen)
    assert len({rng.random() for _, rng in seen}) == 6  # no two batches draw the same


def test_the_order_is_that_of_a_loader_without_it():
    plain = [y.tolist() for _, y in loader(transform=None)]
    assert [y.tolist() for _, y in loader()] == plain


def test_every_pass_draws_anew_and_the_same_seed_gives_the_same():
    first, again = loader(), loader()
    passes = [flat(first), flat(first)]
    assert passes == [flat(again), flat(again)]
    unshuffled = loader(shuffle=False)
    one, two = flat(unshuffled), flat(unshuffled)
    assert [y for _, y in one] == [y for _, y in two]
    assert all(a != b for (a, _), (b, _) in zip(one, two, strict=True))
    flux.seed(3)
    one = flat(loader(rng=None))
    flux.seed(3)
    assert flat(loader(rng=None)) == one


def test_a_pass_draws_when_it_begins_and_only_then():
    """So that the generator's state does not depend on how far a pass has come, or on what is drawn in it."""
    data = loader()
    batches = iter(data)
    state = data.rng.bit_generator.state
    first = next(batches)
    data.rng.random(7)
    rest = list(batches)
    other = loader()
    assert flat([first, *rest]) == flat(other)
    assert other.rng.bit_generator.state == state


def test_batches_do_not_depend_on_what_others_have_drawn():
    """The generator of a batch is its own: it may be read to any length."""

    def greedy(batch, rng):
        result = augment(batch, rng)
        rng.random(1000)
        return result

    assert flat(loader(transform=greedy)) == flat(loader())


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (3, r"DataLoader: expected transform to be a function of a batch and a generator, got 3"),
        (lambda batch: batch, r"DataLoader: transform takes batch, but is called with a batch and a generator"),
    ],
)
def test_what_is_no_transform(transform, message):
    with pytest.raises(TypeError, match=message):
        loader(transform=transform)


def test_its_name_is_shown():
    assert repr(loader()) == "DataLoader(22 samples, batchsize=4, shuffle=True, transform=augment)"


# Training.


def model_and_state():
    flux.seed(0)
    model = flux.Chain(flux.flatten, flux.Dense(90, 8, flux.tanh), flux.Dense(8, 22))
    return model, flux.setup(flux.Adam(0.01), model)


def loss(model, x, y):
    return flux.logitcrossentropy(model(x), y)


def classes(batch, rng):
    images, labels = augment(batch, rng)
    return images, flux.onehotbatch(labels, range(22))


@pytest.mark.parametrize("native", [False, True])
def test_train_sees_the_transformed_batches(native):
    model, opt = model_and_state()
    means = flux.train(loss, model, loader(transform=classes), opt, epochs=2, compile=native)
    expected, state = model_and_state()
    batches, losses = loader(transform=classes), []
    for _ in range(2):
        losses.append([])
        for x, y in batches:
            value, grads = flux.withgradient(lambda m: loss(m, x, y), expected)  # noqa: B023
            flux.update(state, expected, grads)
            losses[-1].append(value)
    np.testing.assert_allclose(means, np.mean(losses, axis=1), rtol=1e-5)
    for a, b in zip(flux.leaves(model), flux.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("native", [False, True])
def test_a_training_goes_on_from_its_checkpoint_bit_for_bit(tmp_path, native):
    """With the generator's state beside it: order, crops and flips are those of the training that was not stopped."""
    model, opt = model_and_state()
    whole = flux.train(loss, model, loader(transform=classes), opt, epochs=4, compile=native)
    half, state = model_and_state()
    data = loader(transform=classes)
    losses = flux.train(loss, half, data, state, epochs=2, compile=native)
    flux.save(tmp_path / "model.npz", half, state)
    noted = json.dumps(data.rng.bit_generator.state)

    flux.seed(9)
    resumed = flux.Chain(flux.flatten, flux.Dense(90, 8, flux.tanh), flux.Dense(8, 22))
    state = flux.setup(flux.Adam(0.01), resumed)
    flux.load(tmp_path / "model.npz", resumed, state)
    data = loader(seed=9, transform=classes)
    data.rng.bit_generator.state = json.loads(noted)
    losses += flux.train(loss, resumed, data, state, epochs=2, compile=native)
    assert losses == whole
    for a, b in zip(flux.leaves(resumed), flux.leaves(model), strict=True):
        np.testing.assert_array_equal(a, b)
