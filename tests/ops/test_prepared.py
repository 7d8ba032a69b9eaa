"""What is prepared of weights follows them."""

import gc
import weakref

import pytest
import torch

from lic_fast.ops import prepared


class Sums:
    """The sum of the sources, and how often it was computed."""

    def __init__(self):
        self.count = 0

    def __call__(self, *sources):
        def build():
            self.count += 1
            return sum(float(source.sum()) for source in sources)

        return prepared("sum", sources, build)


@pytest.mark.parametrize("way", ["in place", "data", "new data"])
def test_a_value_follows_its_sources(way):
    group = [torch.nn.Parameter(torch.ones(3, 5)), torch.nn.Parameter(torch.ones(1000))]
    sums = Sums()
    assert (sums(*group), sums(*group), sums.count) == (1015, 1015, 1)
    with torch.no_grad():
        if way == "in place":
            group[1].add_(1)
        elif way == "data":
            group[1].data.add_(1)
        else:
            group[1].data = group[1].data + 1
    assert (sums(*group), sums(*group), sums.count) == (2015, 2015, 2)


def test_a_value_lives_as_long_as_its_first_source():
    class Value:
        pass

    source = torch.ones(3)
    value = weakref.ref(prepared("value", [source, torch.ones(4)], Value))
    assert value() is not None
    del source
    gc.collect()
    assert value() is None


def test_a_value_is_made_once_for_each_key():
    source = torch.randn(3, 4)
    value = prepared("key", [source], lambda: torch.zeros(1))
    assert prepared("key", [source], lambda: torch.ones(1)) is value
    assert prepared("other key", [source], lambda: torch.ones(1)) is not value


@torch.inference_mode()
def test_tensors_of_inference_mode_are_followed_too():
    source, sums = torch.ones(5, 4), Sums()
    assert sums(source) == 20
    source.mul_(2)
    assert sums(source) == 40
