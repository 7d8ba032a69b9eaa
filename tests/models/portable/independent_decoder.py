"""A decoder of portable models, written from docs/portable.md in numpy.

From a model's file and the streams of y and z to symbols and latents. Its names are those of
that text. Nothing of lic_fast computes here; it is slow, and short enough to be compared with it.
"""

from __future__ import annotations

import json
import re

import numpy as np
from safetensors.numpy import load

from tests.rans.format_decoder import Decoder


def constants(text):
    return [np.float32(float.fromhex(word)) for word in text.split()]


GELU = constants(
    "0x1.98481cp-2 -0x1.0e45e4p-4 0x1.3a165cp-7 -0x1.0fff3ep-10 0x1.5584d4p-14 -0x1.2abf0ep-18 "
    "0x1.55a842p-23 -0x1.c78d42p-29 0x1.0b13eep-35"
)
EXP = constants("0x1p+0 0x1.fffffcp-2 0x1.55541ap-3 0x1.555826p-5 0x1.126794p-7 0x1.6ae71ep-10")
LOG2E, LN2_HIGH, LN2_LOW, SLOPE = constants(
    "0x1.715476p+0 0x1.62e400p-1 0x1.7f7d1cp-20 0x1.47ae14p-7"
)
F = np.float32


def polynomial(x, coefficients):
    result = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x
        result = result + coefficient
    return result


def gelu(x):
    v = np.clip(x, F(-4.5), F(4.5))
    p = v * polynomial(v * v, GELU)
    return x * np.clip(p + F(0.5), F(0), F(1))


def exp(x):
    x = np.maximum(x, F(-87))
    n = np.rint(x * LOG2E)
    r = x - n * LN2_HIGH
    r = r - n * LN2_LOW
    p = polynomial(r, EXP) * r
    return np.ldexp(p + F(1), n.astype(np.int32))


def tanh(x):
    e = exp(F(-2) * np.abs(x))
    return np.copysign((F(1) - e) / (F(1) + e), x)


def sigmoid(x):
    e = exp(-np.abs(x))
    return np.where(x < 0, e, F(1)) / (e + F(1))


def relu(x):
    return np.where(x > 0, x, F(0))


def leaky_relu(x):
    return np.where(x > 0, x, x * SLOPE)


def root(x):
    return np.sqrt(x.astype(np.float64)).astype(np.float32)


def shuffled(x):
    """(4C, H, W) to (C, 2H, 2W)."""
    channels, height, width = x.shape
    x = x.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    return x.reshape(channels // 4, 2 * height, 2 * width)


def quantized(x, inverse_step, zero, bits):
    """The activations of (C, H, W), int64."""
    a = np.rint(x * inverse_step[:, None, None]) + zero[:, None, None].astype(np.float32)
    return np.clip(a, 0, 2**bits - 1).astype(np.int64)


def sums(a, weight, zero, stride=1):
    """A convolution of activations (C, H, W), with `zero` of each channel beyond the edges."""
    side, (height, width) = weight.shape[2] // 2, a.shape[1:]
    padded = np.empty((len(zero), height + 2 * side, width + 2 * side), np.float64)
    padded[:] = zero[:, None, None]
    padded[:, side : side + height, side : side + width] = a
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], (1, 2))
    windows = windows[:, ::stride, ::stride]
    size = windows.shape[1:3]
    windows = windows.transpose(0, 3, 4, 1, 2).reshape(weight[0].size, -1)
    # Sums below 2^31 are exact in float64, in any order.
    found = weight.reshape(len(weight), -1).astype(np.float64) @ windows
    return found.astype(np.int64).reshape(-1, *size)


def layer_norm(x, weight, bias, inverse_step, epsilon):
    n = len(x)
    q = np.clip(np.rint(x * inverse_step), -32767, 32767).astype(np.int64)
    total, squares = q.sum(0), (q * q).sum(0)
    spread = root((n * squares - total * total).astype(np.float32) + epsilon)
    y = (n * q - total).astype(np.float32) / spread
    return y * weight[:, None, None] + bias[:, None, None]


def windows_of(height, width, window, shift):
    """Rows, columns and regions of the tokens of each window."""
    cells = [(r, c) for r in range(window) for c in range(window)]
    for top in range(0, height, window):
        for left in range(0, width, window):
            places = [(top + r + shift, left + c + shift) for r, c in cells]
            region = np.array([2 * (y >= height) + (x >= width) for y, x in places])
            rows = np.array([y % height for y, _ in places])
            columns = np.array([x % width for _, x in places])
            yield rows, columns, region


def entries_of(window):
    """For each pair of tokens, query and key, the row of the table."""
    cells = [(r, c) for r in range(window) for c in range(window)]
    return [
        [(a - c + window - 1) * (2 * window - 1) + b - d + window - 1 for c, d in cells]
        for a, b in cells
    ]


def window_attention(qkv, inverse_step, scale, table, value_step, window, shift):
    (channels, height, width), heads = qkv.shape, len(scale)
    size, entries = channels // 3 // heads, entries_of(window)
    integers = np.clip(np.rint(qkv * inverse_step[:, None, None]), -1023, 1023)
    integers = integers.astype(np.int64).reshape(3, heads, size, height, width)
    out = np.empty((heads, size, height, width), np.float32)
    for rows, columns, region in windows_of(height, width, window, shift):
        for head in range(heads):
            q, k, v = (part[head][:, rows, columns] for part in integers)
            logits = (q.T @ k).astype(np.float32) * scale[head]
            logits = logits + table[entries, head]
            together = region[:, None] == region
            most = np.where(together, logits, F(-np.inf)).max(1, keepdims=True)
            p = np.rint(exp(np.minimum(logits - most, F(0))) * F(16384))
            p = np.where(together, p, 0).astype(np.int64)
            mean = (p @ v.T).astype(np.float32) / p.sum(1, keepdims=True).astype(np.float32)
            out[head][:, rows, columns] = mean.T
    return out.reshape(-1, height, width) * value_step[:, None, None]


class Model:
    """The bytes of a model's file. Maps are (C, H, W) float32.

    Attributes:
        layers: What layers gave, by name, of the last call.
    """

    def __init__(self, data):
        length = int.from_bytes(data[:8], "little")
        self.described = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["lic_fast"])
        self.entries = {
            name: values.astype(np.float32) if values.dtype == np.float16 else values
            for name, values in load(data).items()
        }
        self.layers = {}
        arguments = self.described["arguments"]
        self.tcm = self.described["architecture"] == "TCM"
        self.count, self.most = arguments["num_slices"], arguments["max_support_slices"]
        if self.tcm:
            self.windows = (arguments["hyper_window_size"], arguments["window_size"])

    def layer(self, name, x, activation=None, residual=None):
        """An integer layer; what it gives by itself is kept under its name."""
        weight, bias, scale, inverse_step, zero, precision = (
            self.entries[f"{name}.{entry}"]
            for entry in ("weight", "bias", "scale", "inverse_step", "zero", "precision")
        )
        bits, halves = (int(number) for number in precision)
        a = quantized(x, inverse_step, zero, bits)
        if (bits, halves) == (14, 1):
            a, zero = a >> 7, zero >> 7
        total = sums(a, weight, zero) + bias[:, None, None]
        v = total.astype(np.float32) * scale[:, None, None]
        self.layers[name] = v
        v = v if residual is None else v + residual
        return v if activation is None else activation(v)

    def chain(self, name, x):
        """Layers .0, .2, ... with GELU between."""
        numbers = sorted(
            int(match[1])
            for entry in self.entries
            if (match := re.fullmatch(re.escape(name) + r"\.(\d+)\.weight", entry))
        )
        for number in numbers:
            x = self.layer(f"{name}.{number}", x, None if number == numbers[-1] else gelu)
        return x

    def hyper_synthesis(self, name, x):
        if self.tcm:
            return self.hyper_synthesis_of_tcm(name, x)
        x = self.layer(f"{name}.0", x, gelu)
        x = shuffled(self.layer(f"{name}.2.0", x, gelu))
        x = self.layer(f"{name}.4", x, gelu)
        x = shuffled(self.layer(f"{name}.6.0", x, gelu))
        return self.layer(f"{name}.8", x)

    def decode(self, y_stream, z_stream, shape):
        """Symbols of z (C, H, W), of y in coding order, and the latents (M, 4H, 4W)."""
        rows, columns = shape
        channels = len(self.entries["entropy_bottleneck._offset"])
        decoder = self.decoder("entropy_bottleneck", z_stream)
        symbols = decoder.step([c for c in range(channels) for _ in range(rows * columns)])
        decoder.finish()
        z_symbols = np.array(symbols).reshape(channels, rows, columns)
        medians = self.entries["entropy_bottleneck.quantiles"][:, 0, 1]
        z = z_symbols.astype(np.float32) + medians[:, None, None]
        hyper = [self.hyper_synthesis(f"h_{kind}_s", z) for kind in ("mean", "scale")]
        decoder = self.decoder("gaussian_conditional", y_stream)
        most = min(self.most, self.count)
        steps = [[i] for i in range(most)] + [list(range(most, self.count))]
        decoded, y_symbols = [], []
        for step in filter(None, steps):
            support = decoded[:most]
            maps = [[np.concatenate([h, *support]) for h in hyper] for _ in step]
            if self.tcm:
                maps = [
                    [
                        self.attended(f"atten_{kind}.{i}.0", x)
                        for kind, x in zip(KINDS, pair, strict=True)
                    ]
                    for i, pair in zip(step, maps, strict=True)
                ]
            means, scales = (
                [
                    self.chain(f"cc_{kind}_transforms.{i}", pair[k])
                    for i, pair in zip(step, maps, strict=True)
                ]
                for k, kind in enumerate(KINDS)
            )
            symbols = np.array(decoder.step(self.indexes(np.concatenate(scales)).tolist()))
            y_symbols.append(symbols)
            parts = symbols.reshape(len(step), *means[0].shape)
            for i, pair, mean, part in zip(step, maps, means, parts, strict=True):
                q = part.astype(np.float32) + mean
                r = self.chain(f"lrp_transforms.{i}", np.concatenate([pair[0], q]))
                decoded.append(q + tanh(r) * F(0.5))
        decoder.finish()
        return z_symbols, np.concatenate(y_symbols), np.concatenate(decoded)

    def indexes(self, scales):
        table = self.entries["gaussian_conditional.scale_table"]
        return (table[:-1] < scales.reshape(-1, 1)).sum(1)

    def decoder(self, name, stream):
        cdfs, sizes, offsets = (
            self.entries[f"{name}.{entry}"]
            for entry in ("_quantized_cdf", "_cdf_length", "_offset")
        )
        rows = [row[:size].tolist() for row, size in zip(cdfs, sizes, strict=True)]
        return Decoder(stream, rows, offsets.tolist())

    # TCM

    def hyper_synthesis_of_tcm(self, name, x):
        x = self.upsampled(f"{name}.0", x)
        number = 1
        while f"{name}.{number}.conv1_1.weight" in self.entries:
            x = self.block(f"{name}.{number}", x, shifted=number % 2 == 0)
            number += 1
        return shuffled(self.layer(f"{name}.{number}.0", x))

    def upsampled(self, name, x):
        out = shuffled(self.layer(f"{name}.subpel_conv.0", x, leaky_relu))
        out = self.layer(f"{name}.conv", out)
        norm = self.layer(f"{name}.igdn.mix", out * out)
        out = out * root(np.maximum(norm, F(2.0**-20)))
        self.layers[f"{name}.igdn"] = out
        return out + shuffled(self.layer(f"{name}.upsample.0", x))

    def block(self, name, x, shifted):
        conv, trans = np.split(self.layer(f"{name}.conv1_1", x), 2)
        out = self.layer(f"{name}.conv_block.conv1", conv, leaky_relu)
        out = self.layer(f"{name}.conv_block.conv2", out, leaky_relu) + conv
        conv = out + conv
        trans = self.transformer(f"{name}.trans_block", trans, self.windows[0], shifted)
        return self.layer(f"{name}.conv1_2", np.concatenate([conv, trans]), residual=x)

    def transformer(self, name, x, window, shifted):
        qkv = self.layer(f"{name}.msa.embedding_layer", self.norm(f"{name}.ln1", x))
        attended = self.attention(f"{name}.msa.attention", qkv, window, window // 2 * shifted)
        x = self.layer(f"{name}.msa.linear", attended, residual=x)
        hidden = self.layer(f"{name}.mlp.0", self.norm(f"{name}.ln2", x), gelu)
        return self.layer(f"{name}.mlp.2", hidden, residual=x)

    def norm(self, name, x):
        weight, bias, inverse_step, epsilon = (
            self.entries[f"{name}.{entry}"]
            for entry in ("weight", "bias", "inverse_step", "epsilon")
        )
        y = layer_norm(x, weight, bias, inverse_step, epsilon)
        self.layers[name] = y
        return y

    def attention(self, name, qkv, window, shift):
        inverse_step, scale, table, value_step = (
            self.entries[f"{name}.{entry}"]
            for entry in ("inverse_step", "scale", "table", "value_step")
        )
        out = window_attention(qkv, inverse_step, scale, table, value_step, window, shift)
        self.layers[name] = out
        return out

    def attended(self, name, x):
        x = self.layer(f"{name}.in_conv", x)
        a = b = x
        for number in range(3):
            a = self.residual_unit(f"{name}.conv_a.{number}", a)
        for number, shifted in ((1, False), (2, True)):
            block = f"{name}.non_local_block.block_{number}"
            b = self.transformer(block, b, self.windows[1], shifted)
        for number in range(3):
            b = self.residual_unit(f"{name}.conv_b.{number}", b)
        gate = sigmoid(self.layer(f"{name}.conv_b.3", b))
        return self.layer(f"{name}.out_conv", a * gate + x)

    def residual_unit(self, name, x):
        out = self.layer(f"{name}.conv.0", x, relu)
        out = self.layer(f"{name}.conv.2", out, relu)
        return self.layer(f"{name}.conv.4", out, relu, residual=x)


KINDS = ("mean", "scale")
