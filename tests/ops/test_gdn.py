"""GDN against its formula, number by number."""

import math

import pytest
import torch

from lic_fast.ops import gdn


@pytest.mark.parametrize("inverse", [False, True])
def test_is_the_formula(inverse):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    gamma, beta = torch.rand(3, 3), torch.rand(3) + 0.5
    out = gdn(x, gamma, beta, inverse=inverse)
    assert out.dtype == x.dtype
    for b, c, i, j in torch.ones_like(x).nonzero().tolist():
        squares = sum(gamma[c, k].item() * x[b, k, i, j].item() ** 2 for k in range(3))
        root = math.sqrt(beta[c].item() + squares)
        expected = x[b, c, i, j].item() * (root if inverse else 1 / root)
        assert math.isclose(out[b, c, i, j].item(), expected, rel_tol=1e-12)


def test_gradients():
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    gamma, beta = torch.rand(3, 3).double().requires_grad_(), torch.rand(3).double() + 0.5
    assert torch.autograd.gradcheck(gdn, (x, gamma, beta.requires_grad_()))
