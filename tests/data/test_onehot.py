"""One-hot labels and back."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyflux.data import onecold, onehot, onehotbatch

some_classes = st.one_of(
    st.lists(st.integers(-5, 300), min_size=1, max_size=12, unique=True),
    st.lists(st.text(max_size=4), min_size=1, max_size=12, unique=True),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=9, unique=True),
    st.lists(st.one_of(st.none(), st.integers(0, 9), st.text("01ab", max_size=2)), min_size=1, max_size=9, unique=True),
)


@settings(derandomize=True, deadline=None)
@given(st.data(), some_classes)
def test_round_trip(data, classes):
    labels = data.draw(st.lists(st.sampled_from(classes), max_size=20))
    batch = onehotbatch(labels, classes)
    assert type(batch) is np.ndarray
    assert batch.dtype == np.float32
    assert batch.shape == (len(labels), len(classes))
    assert batch.tolist() == [[float(label == c) for c in classes] for label in labels]
    assert list(onecold(batch, classes)) == labels
    assert onecold(batch).tolist() == [classes.index(label) for label in labels]
    for label, row in zip(labels, batch, strict=True):
        assert onehot(label, classes).tolist() == row.tolist()
        assert onecold(row, classes) == label


@pytest.mark.parametrize("labels", [[3, 1], (3, 1), np.array([3, 1]), np.array([3, 1], np.uint8), np.array([3.0, 1.0])])
@pytest.mark.parametrize("classes", [range(4), [0, 1, 2, 3], np.arange(4), (0.0, 1.0, 2.0, 3.0)])
def test_kinds_of_labels_and_classes(labels, classes):
    assert onehotbatch(labels, classes).tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]


@pytest.mark.parametrize("label", [2, np.int64(2), np.array(2), 2.0])
def test_onehot_takes_every_kind_of_number(label):
    vector = onehot(label, range(4))
    assert vector.tolist() == [0, 0, 1, 0]
    assert vector.dtype == np.float32


def test_strings_and_their_numbers_are_different_labels():
    with pytest.raises(ValueError, match=r"got '1' at index 0"):
        onehotbatch(["1"], [0, 1])


def test_unknown_label_is_named_with_its_index():
    with pytest.raises(
        ValueError, match=r"one of the 10 classes \[0, 1, 2, 3, 4, 5, 6, 7, 8, 9\], got 11 at index 2; "
    ):
        onehotbatch(np.array([0, 5, 11, 12]), range(10))
    with pytest.raises(ValueError, match=r"got 'dog' at index 0"):
        onehot("dog", ["ant", "bee"])
    with pytest.raises(ValueError, match=r"classes \[\], got 0 at index 0"):
        onehotbatch([0], [])


def test_many_classes_are_shortened_in_a_message():
    with pytest.raises(ValueError, match=r"1000 classes \[0, 1, 2, 3, 4, …, 998, 999\], got -1"):
        onehotbatch([-1], range(1000))


def test_a_class_given_twice():
    with pytest.raises(ValueError, match=r"expected different labels, got \['a', 'b', 'a'\]"):
        onehotbatch(["a"], ["a", "b", "a"])


def test_labels_with_two_axes():
    with pytest.raises(
        ValueError, match=r"^onehotbatch: expected labels of one axis, \(N,\), got shape \(3, 1\); .*ravel"
    ):
        onehotbatch(np.zeros((3, 1), int), range(2))


def test_onecold_takes_the_last_axis_and_the_first_of_equals():
    scores = np.zeros((2, 3, 4))
    scores[1, 2, 3] = scores[0, 1, 2] = scores[0, 1, 3] = 1
    assert onecold(scores).tolist() == [[0, 2, 0], [0, 0, 3]]
    named = onecold(scores, "abcd")
    assert named.tolist() == [["a", "c", "a"], ["a", "a", "d"]]
    assert onecold(np.zeros((0, 3, 4)), "abcd").shape == (0, 3)
    assert onecold(scores, np.array([5, 6, 7, 8])).dtype == np.int64


def test_onecold_with_another_number_of_classes():
    with pytest.raises(ValueError, match=r"expected 3 labels for scores \(2, 3\), got 2: \['a', 'b'\]"):
        onecold(np.zeros((2, 3)), ["a", "b"])


def test_sixty_thousand_labels_are_looked_up_together():
    """No function written in Python is called for each of them, which would take seconds."""
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append(frame) if event == "call" else None)
    try:
        onehotbatch(np.random.default_rng(0).integers(0, 10, 60_000), range(10))
    finally:
        sys.setprofile(None)
    assert len(calls) < 1000


@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_set_has_no_order(kind):
    classes = kind(["ant", "bee"])
    for name, call in {
        "classes": lambda: onehotbatch(["ant"], classes),
        "labels": lambda: onehotbatch(classes, ["ant", "bee"]),
    }.items():
        with pytest.raises(
            TypeError, match=rf"{name}: expected labels in an order, got a {kind.__name__}, which has none"
        ):
            call()
    for call in (lambda: onehot("ant", classes), lambda: onecold([0.1, 0.9], classes)):
        with pytest.raises(TypeError, match=r"Give sorted\(classes\)"):
            call()
