"""Window attention against a definition written token by token, and against torchvision's."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.swin_transformer import shifted_window_attention

from lic_fast import _C, backend, rans
from lic_fast.ops import relative_position_index, window_attention

ISAS = rans.instruction_sets()


def by_tokens(qkv, bias_table, window, shift, mask_value, pad_value):
    """Every query against every key, with the window that each lies in."""
    batch, height, width, channels = qkv.shape
    heads, dim = bias_table.shape[1], channels // 3 // bias_table.shape[1]
    rows, columns = -(-height // window) * window, -(-width // window) * window
    padded = torch.zeros(batch, rows, columns, channels, dtype=qkv.dtype)
    if pad_value is not None:
        padded += pad_value
    padded[:, :height, :width] = qkv
    out = torch.zeros(batch, height, width, channels // 3, dtype=qkv.dtype)

    def place(r, c):
        """Place of a token in the shifted map: window, place inside, and whether it wrapped."""
        r, c = (r - shift) % rows, (c - shift) % columns
        wrapped = (r >= rows - shift, c >= columns - shift)
        return (r // window, c // window), (r % window, c % window), wrapped

    tokens = [(r, c) for r in range(rows) for c in range(columns)]
    for r, c in tokens:
        if r >= height or c >= width:
            continue
        home, inside, wrapped = place(r, c)
        for head in range(heads):
            own = slice(head * dim, (head + 1) * dim)
            logits, values = [], []
            for kr, kc in tokens:
                other, key_inside, key_wrapped = place(kr, kc)
                if other != home:
                    continue
                key = padded[:, kr, kc]
                logit = (padded[:, r, c, own] * key[:, channels // 3 :][:, own]).sum(-1) / dim**0.5
                dr = inside[0] - key_inside[0] + window - 1
                dc = inside[1] - key_inside[1] + window - 1
                logit = logit + bias_table[dr * (2 * window - 1) + dc, head]
                logits.append(logit + (mask_value if wrapped != key_wrapped else 0.0))
                values.append(key[:, 2 * channels // 3 :][:, own])
            weights = torch.stack(logits, -1).softmax(-1)
            out[:, r, c, own] = (weights[..., None] * torch.stack(values, 1)).sum(1)
    return out


@settings(max_examples=25, deadline=None)
@given(
    window=st.sampled_from([1, 2, 3, 4]),
    sides=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    heads=st.integers(1, 3),
    dim=st.sampled_from([1, 2, 5]),
    shifted=st.booleans(),
    padded=st.booleans(),
    mask_value=st.sampled_from([-100.0, float("-inf")]),
    seed=st.integers(0, 2**31),
)
def test_matches_the_definition_by_tokens(
    window, sides, heads, dim, shifted, padded, mask_value, seed
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    qkv = normal(2, *sides, 3 * heads * dim)
    bias_table = normal((2 * window - 1) ** 2, heads)
    pad_value = normal(3 * heads * dim) if padded else None
    shift = window // 2 if shifted else 0
    actual = window_attention(
        qkv,
        bias_table,
        window_size=window,
        shift=shift,
        mask_value=mask_value,
        pad_value=pad_value,
    )
    expected = by_tokens(qkv, bias_table, window, shift, mask_value, pad_value)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("sides", [(8, 12), (7, 10), (4, 4)])
def test_matches_torchvision(shift, sides):
    torch.manual_seed(0)
    heads, dim, window = 3, 12, 4
    x = torch.randn(2, *sides, dim)
    qkv_weight, qkv_bias = torch.randn(3 * dim, dim), torch.randn(3 * dim)
    proj_weight, proj_bias = torch.randn(dim, dim), torch.randn(dim)
    table = torch.randn((2 * window - 1) ** 2, heads)
    index = relative_position_index(window)
    bias = table[index.flatten()].view(16, 16, heads).permute(2, 0, 1)[None]
    expected = shifted_window_attention(
        x, qkv_weight, proj_weight, bias, [window, window], heads, [shift, shift],
        qkv_bias=qkv_bias, proj_bias=proj_bias, training=False,
    )  # fmt: skip
    # torchvision drops the shift where there is one window only.
    own_shift = 0 if sides == (4, 4) else shift
    attended = window_attention(
        torch.nn.functional.linear(x, qkv_weight, qkv_bias),
        table,
        window_size=window,
        shift=own_shift,
        pad_value=qkv_bias,
    )
    actual = torch.nn.functional.linear(attended, proj_weight, proj_bias)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_gradients():
    torch.manual_seed(0)
    qkv = torch.randn(1, 3, 5, 12, dtype=torch.float64, requires_grad=True)
    table = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    pad = torch.randn(12, dtype=torch.float64, requires_grad=True)

    def attend(qkv, table, pad):
        return window_attention(qkv, table, window_size=2, shift=1, pad_value=pad)

    assert torch.autograd.gradcheck(attend, (qkv, table, pad))


def test_the_input_is_not_written_to():
    qkv = torch.randn(1, 4, 4, 6)
    before = qkv.clone()
    window_attention(qkv, torch.zeros(49, 1), window_size=4, shift=2, pad_value=torch.ones(6))
    assert torch.equal(qkv, before)


def test_dropout_and_scale():
    torch.manual_seed(0)
    qkv, table = torch.randn(1, 4, 4, 6), torch.zeros(49, 1)
    plain = window_attention(qkv, table, window_size=4)
    assert not torch.equal(window_attention(qkv, table, window_size=4, dropout=0.5), plain)
    # With a factor of zero every token is the mean of its window.
    mean = window_attention(qkv, table, window_size=4, scale=0.0)
    torch.testing.assert_close(mean, qkv[..., 4:].mean((1, 2), keepdim=True).expand_as(mean))


@pytest.mark.parametrize(
    ("shape", "table", "window", "shift", "message"),
    [
        ((1, 4, 4, 10), (9, 2), 2, 0, "3 x 2 heads"),
        ((1, 4, 4, 12), (49, 2), 2, 0, "relative positions"),
        ((1, 4, 4, 12), (9, 2), 2, 2, "shift must be"),
        ((1, 4, 4, 12), (9, 2), 2, -1, "shift must be"),
    ],
)
def test_operands_that_do_not_fit_are_refused(shape, table, window, shift, message):
    with pytest.raises(ValueError, match=message):
        window_attention(torch.zeros(shape), torch.zeros(table), window_size=window, shift=shift)


def fused(qkv, bias_table, window, shift, mask_value, pad_value, isa, threads=2):
    out = torch.full((*qkv.shape[:3], qkv.shape[3] // 3), float("nan"))  # poisoned
    scale = (qkv.shape[3] // 3 // bias_table.shape[1]) ** -0.5
    arrays = (qkv.numpy(), bias_table.numpy(), None if pad_value is None else pad_value.numpy())
    _C.window_attention(*arrays, out.numpy(), window, shift, scale, mask_value, threads, isa)
    return out


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40, deadline=None)
@given(
    window=st.sampled_from([1, 2, 3, 4, 5, 8]),
    sides=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    heads=st.integers(1, 3),
    dim=st.sampled_from([1, 5, 8, 16, 24, 32, 40]),
    shifted=st.booleans(),
    padded=st.booleans(),
    mask_value=st.sampled_from([-100.0, float("-inf")]),
    spread=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 2**31),
)
def test_every_instruction_set_is_the_definition(
    isa, window, sides, heads, dim, shifted, padded, mask_value, spread, seed
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    qkv = normal(2, *sides, 3 * heads * dim) * spread
    bias_table = normal((2 * window - 1) ** 2, heads)
    pad_value = normal(3 * heads * dim) if padded else None
    shift = window // 2 if shifted else 0
    actual = fused(qkv, bias_table, window, shift, mask_value, pad_value, isa)
    expected = window_attention(
        qkv.double(),
        bias_table.double(),
        window_size=window,
        shift=shift,
        mask_value=mask_value,
        pad_value=None if pad_value is None else pad_value.double(),
    )
    # A logit of magnitude m is off by some m * 2^-24, and its weight relatively by as much.
    largest = max(1.0, spread) if padded else spread
    logits = max(1.0, spread * largest * dim**0.5 * 5)
    tolerance = 2.0**-22 * logits * max(1.0, spread) * 4
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("window", "heads", "dim"), [(4, 3, 16), (8, 8, 8), (8, 2, 40), (4, 2, 24)]
)
def test_the_result_does_not_depend_on_threads_or_the_batch(isa, window, heads, dim):
    torch.manual_seed(0)
    qkv = torch.randn(3, 21, 18, 3 * heads * dim)
    table = torch.randn((2 * window - 1) ** 2, heads)
    whole = fused(qkv, table, window, window // 2, -100.0, None, isa, 1)
    assert torch.equal(fused(qkv, table, window, window // 2, -100.0, None, isa, 3), whole)
    for i in range(3):
        one = fused(qkv[i : i + 1].contiguous(), table, window, window // 2, -100.0, None, isa)
        assert torch.equal(one[0], whole[i])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so_and_in_its_window(isa, value):
    qkv = torch.randn(1, 8, 8, 3 * 16)
    qkv[0, 1, 2, 5] = value  # a query
    qkv[0, 6, 6, 2 * 16 + 3] = value  # a value
    out = fused(qkv, torch.zeros(49, 1), 4, 0, -100.0, None, isa)
    assert not out[0, 1, 2].isfinite().any()
    assert not out[0, 4:, 4:, 3].isfinite().any()
    assert out[0, :4, 4:].isfinite().all()
    assert out[0, 4:, :4].isfinite().all()


def operands(requires_grad=False):
    torch.manual_seed(0)
    shapes = ((2, 7, 9, 48), (49, 2), (48,))
    return [torch.randn(shape).requires_grad_(requires_grad) for shape in shapes]


def test_the_operator_is_registered_as_pytorch_asks():
    operator = torch.ops.lic_fast.window_attention.default
    torch.library.opcheck(operator, (*operands(requires_grad=True), 4, 2, -100.0, 0.3))
    qkv, table, _ = operands()
    quick = ("test_schema", "test_faketensor")
    arguments = (qkv, table, None, 4, 0, float("-inf"), 0.3)
    torch.library.opcheck(operator, arguments, test_utils=quick)


def test_its_gradient_is_registered_as_pytorch_asks():
    operator = torch.ops.lic_fast.window_attention_backward.default
    grad, (qkv, table, pad) = torch.randn(2, 7, 9, 16), operands()
    for mask in ([True, True, True], [True, False, False]):
        torch.library.opcheck(operator, (grad, qkv, table, pad, 4, 2, -100.0, 0.3, mask))
    arguments = (grad, qkv, table, None, 4, 2, -100.0, 0.3, [False, True, False])
    torch.library.opcheck(operator, arguments)


def test_gradients_are_those_of_the_definition():
    def gradients():
        given_operands = operands(requires_grad=True)
        qkv, table, pad = given_operands
        out = window_attention(qkv, table, window_size=4, shift=2, pad_value=pad)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        return [x.grad for x in given_operands]

    actual = gradients()
    with backend("reference"):
        expected = gradients()
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_torch_compile_traces_through():
    qkv, table, pad = operands()

    def attend(x):
        return window_attention(x * 2, table, window_size=4, shift=2, pad_value=pad) + 1

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(qkv), attend(qkv), rtol=0, atol=0)


def test_torch_compile_traces_the_gradient():
    given_operands = operands(requires_grad=True)

    def attend(qkv, table, pad):
        return window_attention(qkv, table, window_size=4, shift=2, pad_value=pad).square().sum()

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    actual = torch.autograd.grad(compiled(*given_operands), given_operands)
    expected = torch.autograd.grad(attend(*given_operands), given_operands)
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_the_gradient_of_one_operand(wanted):
    given_operands = operands()
    given_operands[wanted].requires_grad_()
    qkv, table, pad = given_operands
    window_attention(qkv, table, window_size=4, shift=2, pad_value=pad).sum().backward()
    assert [x.grad is not None for x in given_operands] == [i == wanted for i in range(3)]


def test_attention_does_not_import_triton_before_a_gpu_needs_it():
    code = "import lic_fast.ops, sys; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_go_to_the_definition(dtype):
    qkv, table, pad = (x.to(dtype) for x in operands())
    actual = window_attention(qkv, table, window_size=4, shift=2, pad_value=pad)
    assert actual.dtype == dtype
    with backend("reference"):
        expected = window_attention(qkv, table, window_size=4, shift=2, pad_value=pad)
    assert torch.equal(actual, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 0}, "window or shift"),
        ({"window": 17}, "window or shift"),
        ({"shift": 4}, "window or shift"),
        ({"bias_table": torch.zeros(48, 2)}, "bias table's length"),
        ({"qkv": torch.zeros(1, 4, 4, 50)}, "do not divide"),
        ({"out": torch.zeros(1, 4, 5, 16)}, "another shape"),
        ({"out": torch.zeros(1, 4, 4, 15)}, "another number of channels"),
        ({"pad_value": torch.zeros(47)}, "pad_value must be"),
        ({"qkv": torch.zeros(4, 4, 48)}, "must be"),
        ({"isa": "mmx"}, "this CPU has"),
    ],
)
def test_the_extension_checks_what_it_is_given(changes, message):
    arguments = {
        "qkv": torch.zeros(1, 4, 4, 48),
        "bias_table": torch.zeros(49, 2),
        "pad_value": None,
        "out": torch.zeros(1, 4, 4, 16),
        "window": 4,
        "shift": 0,
        "scale": 1.0,
        "mask_value": 0.0,
        "threads": 1,
    } | changes
    arrays = {k: v.numpy() if torch.is_tensor(v) else v for k, v in arguments.items()}
    with pytest.raises(ValueError, match=message):
        _C.window_attention(**arrays)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("window", "shift", "size"),
    [(4, 2, 16), (8, 4, 24), (8, 0, 8), (2, 1, 3), (8, 3, 40), (4, 1, 64), (8, 2, 32), (4, 0, 72)],
)
def test_bfloat16_is_the_float32_result_rounded(window, shift, size, isa):
    torch.manual_seed(0)
    heads, height, width = 2, 9, 11
    qkv = torch.randn(2, height, width, 3 * heads * size).bfloat16()
    by_tiles = isa == "amx" and window in (4, 8) and size <= 64
    # Overflows on the way, as in float32; in tiles, whose order of sums is another, elsewhere.
    qkv[0, 3, 4] = 1e17 if by_tiles else 1e38
    table = torch.randn((2 * window - 1) ** 2, heads)
    pad = torch.randn(3 * heads * size)

    def attend(qkv, out, bits):
        out.fill_(float("nan"))
        _C.window_attention(
            bits(qkv), table.numpy(), pad.numpy(), bits(out), window, shift, 0.5, -100.0, 2, isa
        )
        return out

    shape = (2, height, width, heads * size)
    wide = attend(qkv.float(), torch.empty(shape), torch.Tensor.numpy)
    narrow = attend(qkv, torch.empty(shape).bfloat16(), lambda t: t.view(torch.uint16).numpy())
    if by_tiles:
        # Exponentials, too, are rounded, in the average and in what it is divided by.
        bound = 2**-8 * (qkv.float()[qkv < 1e17].abs().max() + wide.abs())
        assert wide.abs().max() > 1e16
        assert ((narrow.float() - wide).abs() <= bound).all()
        return
    assert wide.isnan().any()
    assert torch.equal(narrow.nan_to_num(7.0), wide.bfloat16().nan_to_num(7.0))


@pytest.mark.skipif("amx" not in ISAS, reason="this CPU has no AMX")
@settings(max_examples=40, deadline=None)
@given(
    window=st.sampled_from([4, 8]),
    sides=st.tuples(st.integers(1, 20), st.integers(1, 40)),
    heads=st.integers(1, 5),
    dim=st.sampled_from([8, 16, 24, 32, 40, 48, 64]),
    shift=st.integers(0, 3),
    padded=st.booleans(),
    mask_value=st.sampled_from([-100.0, float("-inf")]),
    spread=st.sampled_from([0.1, 1.0, 5.0]),
    seed=st.integers(0, 2**31),
)
def test_tiles_are_the_definition_rounded(
    window, sides, heads, dim, shift, padded, mask_value, spread, seed
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return (torch.randn(*shape, generator=generator) * spread).bfloat16()

    qkv = normal(2, *sides, 3 * heads * dim)
    table = torch.randn((2 * window - 1) ** 2, heads, generator=generator)
    pad = normal(3 * heads * dim).float() if padded else None
    out = torch.full((2, *sides, heads * dim), float("nan")).bfloat16()
    _C.window_attention(
        qkv.view(torch.uint16).numpy(),
        table.numpy(),
        None if pad is None else pad.numpy(),
        out.view(torch.uint16).numpy(),
        window,
        shift,
        dim**-0.5,
        mask_value,
        2,
        "amx",
    )
    expected = window_attention(
        qkv.double(),
        table.double(),
        window_size=window,
        shift=shift,
        mask_value=mask_value,
        pad_value=None if pad is None else pad.double(),
    )
    # Exponentials are rounded in the average and in what it is divided by, and it is itself.
    largest = max(qkv.abs().max().item(), 0.0 if pad is None else pad.abs().max().item())
    bound = 2**-8 * (largest + expected.abs()) + 1e-5 * spread**3 * dim**0.5
    assert ((out.double() - expected).abs() <= bound).all()
