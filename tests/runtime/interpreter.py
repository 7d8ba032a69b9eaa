"""A runtime of portable models, written from docs/portable.md in numpy.

From a model's file alone it makes latents and symbols of a picture, and a picture of streams.
Nothing of lic_fast computes here. Maps are (C, H, W).
"""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
from safetensors.numpy import load

from tests.models.portable.independent_decoder import (
    F,
    entries_of,
    gelu,
    layer_norm,
    leaky_relu,
    quantized,
    relu,
    root,
    sigmoid,
    sums,
    tanh,
    window_attention,
    windows_of,
)
from tests.rans.format_decoder import Decoder

EXACT = {"none": lambda x: x, "relu": relu, "leaky_relu": leaky_relu, "gelu": gelu}


class File:
    """What a file holds: `stated` is the JSON."""

    def __init__(self, data):
        length = int.from_bytes(data[:8], "little")
        self.stated = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["lic_fast"])
        assert self.stated["portable"] == 2
        entries = load(data)
        rest = {key: value for key, value in self.stated.items() if key != "sha256"}
        digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
        for name in sorted(entries):
            digest.update(f"{name} {entries[name].dtype.str} {entries[name].shape}".encode())
            digest.update(entries[name].tobytes())
        assert digest.hexdigest() == self.stated["sha256"]
        self.entries = entries

    def value(self, stated):
        """JSON with arrays in the place of references."""
        if isinstance(stated, list):
            return [self.value(one) for one in stated]
        if isinstance(stated, dict):
            if stated.keys() == {"entry", "shape", "pixels_first"}:
                return self.array(**stated)
            return {key: self.value(one) for key, one in stated.items()}
        return stated

    def array(self, entry, shape, pixels_first):
        array, r = self.entries[entry].reshape(shape), pixels_first
        if array.dtype == np.float16:
            array = array.astype(np.float32)
        # Channel c, r, r of the entry is channel r, r, c of the array.
        parts = array.reshape(-1, r, r, *array.shape[1:])
        return np.moveaxis(parts, 0, 2).reshape(shape)


# Floating point


def erf(x):
    return np.array([math.erf(one) for one in x.ravel().tolist()], np.float32).reshape(x.shape)


FUNCTIONS = {
    "none": lambda x, _: x,
    "relu": lambda x, _: np.maximum(x, 0),
    "leaky_relu": lambda x, slope: np.where(x > 0, x, x * F(slope)),
    "gelu": lambda x, _: x * (1 + erf(x / F(math.sqrt(2)))) / 2,
    "sigmoid": lambda x, _: 1 / (1 + np.exp(-x)),
    "tanh": lambda x, _: np.tanh(x),
    "exp": lambda x, _: np.exp(x),
    "square": lambda x, _: x * x,
    "sqrt": lambda x, _: np.sqrt(x),
    "abs": lambda x, _: np.abs(x),
    "negate": lambda x, _: -x,
    "scale": lambda x, number: x * F(number),
    "shift": lambda x, number: x + F(number),
    "add": lambda x, y, number: x + F(number) * y,
    "multiply": lambda x, y, _: x * y,
    "divide": lambda x, y, _: x / y,
    "subtract": lambda x, y, _: x - y,
    "maximum": lambda x, y, _: np.maximum(x, y),
    "minimum": lambda x, y, _: np.minimum(x, y),
}


def end(node, x, residual):
    """The activation, after bias and residual."""
    x = x if residual is None else x + residual
    return FUNCTIONS[node["activation"]](x, 0.01)


def spread(vector):
    return vector[:, None, None]


def with_bias(x, bias):
    return x if bias is None else x + spread(bias)


def depth_to_space(x, r):
    """(r * r * C, H, W) to (C, r * H, r * W)."""
    height, width = x.shape[1:]
    x = x.reshape(r, r, -1, height, width).transpose(2, 3, 0, 4, 1)
    return x.reshape(-1, r * height, r * width)


def conv2d(node, x, residual=None):
    weight, p, s = node["weight"], node["padding"], node["stride"]
    padded = np.pad(x, ((0, 0), (p, p), (p, p)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], (1, 2))
    out = np.tensordot(weight, windows[:, ::s, ::s], ((1, 2, 3), (0, 3, 4)))
    return end(node, depth_to_space(with_bias(out, node["bias"]), node["shuffle"]), residual)


def conv_transpose2d(node, x, residual=None):
    weight, p, s = node["weight"], node["padding"], node["stride"]
    (_, height, width), kernel = x.shape, weight.shape[2]
    # Input (i, j) times tap (a, b) belongs to output (s i + a - p, s j + b - p).
    rows, columns = ((n + 1) * s + kernel + p for n in (height, width))
    out = np.zeros((weight.shape[1], rows, columns), np.float32)
    for a in range(kernel):
        for b in range(kernel):
            product = np.tensordot(weight[:, :, a, b], x, (0, 0))
            out[:, a : a + s * height : s, b : b + s * width : s] += product
    out = out[:, p : p + s * height, p : p + s * width]
    return end(node, with_bias(out, node["bias"]), residual)


def norm(x, weight, bias, eps):
    centred = x - x.mean(0)
    scaled = centred / np.sqrt((centred * centred).mean(0) + F(eps))
    return scaled * spread(weight) + spread(bias)


def normed(node, x):
    if node["eps"] is None:
        return x
    return norm(x, node["norm_weight"], node["norm_bias"], node["eps"])


def product(weight, x, bias):
    return with_bias(np.tensordot(weight, x, 1), bias)


def linear(node, x, residual=None):
    return end(node, product(node["weight"], normed(node, x), node["bias"]), residual)


def feed_forward(node, x, residual=None):
    hidden = end(node, product(node["weight1"], normed(node, x), node["bias1"]), None)
    out = product(node["weight2"], hidden, node["bias2"])
    return out if residual is None else out + residual


def gdn(node, x):
    norms = np.sqrt(product(node["gamma"], x * x, node["beta"]))
    return x * norms if node["inverse"] else x / norms


def attention(node, qkv):
    table, window = node["table"], node["window"]
    (channels, height, width), heads = qkv.shape, table.shape[1]
    rows, columns = (-(-side // window) * window for side in (height, width))
    pad = np.zeros(channels, np.float32) if node["pad_value"] is None else node["pad_value"]
    padded = np.broadcast_to(spread(pad), (channels, rows, columns)).copy()
    padded[:, :height, :width] = qkv
    padded = padded.reshape(3, heads, -1, rows, columns)
    out = np.empty(padded.shape[1:], np.float32)
    bias = table[entries_of(window)].transpose(2, 0, 1)
    for row, column, region in windows_of(rows, columns, window, node["shift"]):
        q, k, v = padded[..., row, column]
        logits = q.transpose(0, 2, 1) @ k * F(node["scale"]) + bias
        apart = region[:, None] != region
        logits = np.where(apart, logits + F(node["mask_value"]), logits)
        p = np.exp(logits - logits.max(2, keepdims=True))
        p /= p.sum(2, keepdims=True)
        out[:, :, row, column] = v @ p.transpose(0, 2, 1)
    return out.reshape(-1, rows, columns)[:, :height, :width]


def space_to_depth(node, x):
    (channels, height, width), r = x.shape, node["factor"]
    parts = x.reshape(channels, height // r, r, width // r, r)
    order = (2, 4) if node["order"] == "rows_first" else (4, 2)
    return parts.transpose(*order, 0, 1, 3).reshape(-1, height // r, width // r)


NODES = {
    "binary": lambda node, x, y: FUNCTIONS[node["function"]](x, y, node["number"]),
    "concat": lambda node, *parts: np.concatenate(parts),
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "depth_to_space": lambda node, x: depth_to_space(x, node["factor"]),
    "feed_forward": feed_forward,
    "gate": lambda node, values, logits, skip: values / (1 + np.exp(-logits)) + skip,
    "gdn": gdn,
    "layer_norm": lambda node, x: norm(x, node["weight"], node["bias"], node["eps"]),
    "linear": linear,
    "space_to_depth": space_to_depth,
    "split": lambda node, x: x[node["first"] :][: node["channels"]],
    "unary": lambda node, x: FUNCTIONS[node["function"]](x, node["number"]),
    "window_attention": attention,
}


def run_graph(graph, x):
    maps = {graph["inputs"][0]: x}
    assert len(x) == graph["channels"][0]
    for node in graph["nodes"]:
        named = {**node["attributes"], **node["weights"], "channels": node["channels"]}
        if named.get("mask_value") == "-inf":
            named["mask_value"] = -math.inf
        made = NODES[node["kind"]](named, *(maps[number] for number in node["inputs"]))
        assert made.dtype == np.float32
        assert len(made) == node["channels"]
        maps[node["output"]] = made
    return maps[graph["outputs"][0]]


# Integer programs: a map is (C, H, W) of float32, or a list of halves, int64, the high one first.


def joined(halves):
    return halves[0] if len(halves) == 1 else 128 * halves[0] + halves[1]


def activations(x, quantizer):
    a = quantized(x, *(quantizer[key] for key in ("inverse_step", "zero", "bits")))
    return [a] if quantizer["bits"] == 7 else [a >> 7, a & 127]


def layer(stated, halves, residual=None):
    border = [one.astype(np.int64) for one in stated["border"]]
    a, zero = joined(halves[: len(border)]), joined(border)
    groups, weight = stated["groups"], stated["weight"]
    parts = (np.split(one, groups) for one in (a, weight, zero))
    total = np.concatenate([sums(*part, stated["stride"]) for part in zip(*parts, strict=True)])
    v = (total + spread(stated["bias"])).astype(np.float32) * spread(stated["scale"])
    v = v if residual is None else v + residual
    return EXACT[stated["activation"]](v)


def layers(several, halves, residual=None):
    for stated in several[:-1]:
        halves = activations(layer(stated, halves), stated["output"])
    return layer(several[-1], halves, residual)


def shuffled(x, r):
    """PyTorch's order of channels, (C, r, r)."""
    height, width = x.shape[1:]
    return (
        x.reshape(-1, r, r, height, width)
        .transpose(0, 3, 1, 4, 2)
        .reshape(-1, r * height, r * width)
    )


def element(step, x, y):
    if step["element"] == "square":
        return x * x
    if step["element"] == "add":
        return x + y
    y = root(np.maximum(y, F(2.0**-20)))
    return x * y if step["element"] == "times_root" else x / y


def step_values(step, maps):
    kind = step["is"]
    x = maps[step["x"]]
    if kind == "LayersStep":
        residual = None if step["residual"] is None else maps[step["residual"]]
        return layers(step["layers"], x, residual), step["layers"][-1]["output"]
    if kind == "SubpixelStep":
        return shuffled(layer(step["layer"], x), step["up"]), step["layer"]["output"]
    if kind == "NormStep":
        numbers = (step[key] for key in ("weight", "bias", "inverse_step", "epsilon"))
        return layer_norm(x, *numbers), step["quantizer"]
    if kind == "AttentionStep":
        names = ("inverse_step", "scale", "table", "value_step", "window_size", "shift")
        return window_attention(x, *(step[key] for key in names)), step["quantizer"]
    if kind == "GateStep":
        gated = x * sigmoid(maps[step["gate"]])
        return gated + maps[step["residual"]], step["quantizer"]
    if kind == "ElementStep":
        y = None if step["y"] is None else maps[step["y"]]
        return element(step, x, y), step["quantizer"]
    assert kind == "QuantizeStep"
    return x, step["quantizer"]


class Maps:
    """The maps of a program, parts of others among them."""

    def __init__(self, kinds):
        self.kinds, self.made = kinds, {}

    def place(self, number):
        kind = self.kinds[number]
        base = number if kind["base"] is None else kind["base"]
        return base, slice(kind["first"], kind["first"] + kind["channels"])

    def __getitem__(self, number):
        base, channels = self.place(number)
        whole = self.made[base]
        return (
            [half[channels] for half in whole]
            if self.kinds[number]["halves"]
            else (whole[channels])
        )

    def __setitem__(self, number, value):
        halves = self.kinds[number]["halves"]
        several = value if halves else [value]
        assert len(several) == max(1, halves)
        base, channels = self.place(number)
        if base not in self.made:
            shape = (self.kinds[base]["channels"], *several[0].shape[1:])
            whole = [np.zeros(shape, one.dtype) for one in several]
            self.made[base] = whole if halves else whole[0]
        made = self.made[base] if halves else [self.made[base]]
        for whole, one in zip(made, several, strict=True):
            assert whole[channels].shape == one.shape
            whole[channels] = one


def run_program(program, given):
    maps = Maps(program["maps"])
    maps[program["inputs"][0]] = given
    for step in program["steps"]:
        values, quantizer = step_values(step, maps)
        if step.get("values") is not None:
            maps[step["values"]] = values
        if step["activations"] is not None:
            maps[step["activations"]] = activations(values, quantizer)
    return [maps[number] for number in program["outputs"]]


# The model


class Runtime:
    """The bytes of a model's file."""

    def __init__(self, data):
        file = File(data)
        self.stated = file.stated
        graph = file.value(file.stated["graph"])
        self.analysis, self.synthesis = graph["analysis"], graph["synthesis"]
        self.hyper_analysis, self.path = graph["hyper_analysis"], graph["path"]
        self.medians, self.scales = graph["medians"], graph["scale_table"]
        self.z_tables, self.y_tables = graph["z_tables"], graph["y_tables"]
        self.gains = graph["gains"]

    def gain(self, which, quality):
        if self.gains is None:
            return F(1)
        gains = np.log(np.maximum(self.gains[which], 1e-4).astype(np.float64))
        position = (quality - 1) / 99 * (len(gains) - 1)
        below = min(int(position), len(gains) - 2)
        between = gains[below] + (position - below) * (gains[below + 1] - gains[below])
        return spread(np.exp(between).astype(np.float32))

    def analyse(self, pixels, padding):
        """Latents, not scaled."""
        left, top, right, bottom = padding
        x = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="edge")
        return run_graph(self.analysis, x.transpose(2, 0, 1).astype(np.float32) / F(255))

    def rounded_next(self, y, quality=None):
        """Latents, scaled, and what the hyper-analysis gives of them less the medians."""
        y = y * self.gain(0, quality)
        return y, run_graph(self.hyper_analysis, y) - spread(self.medians)

    def picture(self, y_hat, padding, quality=None):
        """uint8 (H, W, 3)."""
        x = run_graph(self.synthesis, y_hat * self.gain(1, quality))
        left, top, right, bottom = padding
        x = x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]
        return np.rint(np.clip(x, 0, 1) * F(255)).astype(np.uint8).transpose(1, 2, 0)

    def decoder(self, tables, stream):
        cdfs, sizes, offsets = tables
        rows = [row[:size].tolist() for row, size in zip(cdfs, sizes, strict=True)]
        return Decoder(stream, rows, offsets.tolist())

    def decode(self, z_stream, y_stream, shape):
        """Symbols of z (C, H, W), those of y (M, H', W'), means and ŷ."""
        z = self.decoder(self.z_tables, z_stream)
        channels = range(len(self.medians))
        symbols = z.step([c for c in channels for _ in range(shape[0] * shape[1])])
        z.finish()
        z_symbols = np.array(symbols).reshape(-1, *shape)
        y = self.decoder(self.y_tables, y_stream)

        def read(first, scales):
            indexes = (self.scales[:-1] < scales.reshape(-1, 1)).sum(1)
            return np.array(y.step(indexes.tolist())).reshape(scales.shape)

        found = self.run(z_symbols, read)
        y.finish()
        return z_symbols, *found

    def run(self, z_symbols, symbols_of):
        """Symbols, means and ŷ; `symbols_of` a step's first channel and scales gives symbols."""
        z = z_symbols.astype(np.float32) + spread(self.medians)
        h_mean, h_scale = (
            run_program(hyper["program"], activations(z, hyper["quantizer"]))[0]
            for hyper in self.path["hyper"]
        )
        slices = self.path["slices"]
        count, limit = len(slices["mean"]), slices["limit"]
        steps = [[i] for i in range(limit)] + [list(range(limit, count))]
        y_symbols, y_means, decoded = [], [], []
        for step in steps:
            support = decoded[:limit]
            means, scales, reads = [], [], []
            for i in step:
                a = [
                    activations(np.concatenate([h, *support]), slices[name][i]["quantizer"])
                    for h, name in ((h_mean, "mean"), (h_scale, "scale"))
                ]
                *attended, mean = run_program(slices["mean"][i]["program"], a[0])
                (scale,) = run_program(slices["scale"][i]["program"], a[1])
                assert bool(attended) == bool(slices["attended"][i])
                means.append(mean)
                scales.append(scale)
                reads.append(attended[0] if attended else a[0])
            width = len(means[0])
            symbols = symbols_of(step[0] * width, np.concatenate(scales))
            parts = np.split(symbols, len(step))
            for i, part, mean, read in zip(step, parts, means, reads, strict=True):
                q = part.astype(np.float32) + mean
                both = zip(read, activations(q, slices["own"][i]), strict=True)
                r = layers(slices["lrp"][i], [np.concatenate(half) for half in both])
                decoded.append(q + tanh(r) * F(0.5))
            y_symbols.append(symbols)
            y_means += means
        return np.concatenate(y_symbols), np.concatenate(y_means), np.concatenate(decoded)
