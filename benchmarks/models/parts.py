"""What is timed of a model, from its analysis to a whole decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

from lic_fast.entropy import LatentStreams
from lic_fast.entropy.coding import SliceDecoder
from lic_fast.models import SliceCompressionModel
from lic_fast.runtime.coding import (
    Message,
    StreamReader,
    decode_hyperlatent,
    encode_messages,
    hyperlatent_message,
    open_stream,
)

PARTS = {
    "analysis": "g_a",
    "hyper": "h_a, h_mean_s and h_scale_s",
    "slices": "z_hat to y_hat as in a decoder, h_mean_s and h_scale_s included, without coding",
    "synthesis": "g_s",
    "entropy encoding": "all symbols of y and z",
    "entropy decoding": "all symbols of y and z",
    "encode": "model.encode",
    "decode": "model.decode",
}
Work = Callable[[], Any]


def works(model: SliceCompressionModel, x: Tensor) -> dict[str, Work]:
    """A function for each of the parts, of one model and one input.

    Parts get what `encode` and `decode` would give them, memory layout and type included, and
    networks run as there, as programs or module by module.

    Args:
        model: In evaluation mode, with CDF tables.
        x: (B, 3, H, W).
    """
    streams = model.encode(x)
    with _inputs(model, "_network") as networks, _inputs(model, "_latents") as hyperlatents:
        model.decode(streams)
    [y_hat] = [given[1] for given in networks if given[2:] == ("synthesis",)]
    y = model._network(model, x, "analysis")
    z_hat = [arguments[0] for arguments in hyperlatents]
    table = model.gaussian_conditional.scale_table
    z_tables, y_tables = model.cdf_tables()
    messages = _messages(model, streams, z_hat)
    z_shape = (z_hat[0].shape[1], *streams.shape)
    z_messages = [
        hyperlatent_message(decode_hyperlatent(string, z_shape, z_tables, streams.layout))
        for string in streams.z
    ]

    def hyper() -> None:
        model._network(model.h_a, y)
        for z in z_hat:
            model._network(model.h_mean_s, z)
            model._network(model.h_scale_s, z)

    def slices() -> None:
        for z, message in zip(z_hat, messages, strict=True):
            model._latents(z, SliceDecoder(_Replay(message), table))

    def entropy_encoding() -> None:
        encode_messages(messages, y_tables, streams.layout)
        encode_messages(z_messages, z_tables, streams.layout)

    def entropy_decoding() -> None:
        for string, message in zip(streams.y, messages, strict=True):
            reader = open_stream(string, y_tables, streams.layout)
            for _, indexes in message:
                reader.decode(indexes)
            reader.finish()
        for string in streams.z:
            decode_hyperlatent(string, z_shape, z_tables, streams.layout)

    return {
        "analysis": lambda: model._network(model, x, "analysis"),
        "hyper": hyper,
        "slices": slices,
        "synthesis": lambda: model._network(model, y_hat, "synthesis"),
        "entropy encoding": entropy_encoding,
        "entropy decoding": entropy_decoding,
        "encode": lambda: model.encode(x),
        "decode": lambda: model.decode(streams),
    }


def bits_per_pixel(model: SliceCompressionModel, x: Tensor) -> float:
    """Of the streams."""
    streams = model.encode(x)
    size = sum(map(len, streams.y)) + sum(map(len, streams.z))
    return 8 * size / (len(x) * x.shape[2] * x.shape[3])


@contextmanager
def _inputs(model: SliceCompressionModel, name: str) -> Iterator[list[tuple[Any, ...]]]:
    """Collects the arguments of each call of the method `name`."""
    calls: list[tuple[Any, ...]] = []
    method = getattr(model, name)
    shadowed = model.__dict__.get(name)

    def call(*arguments: Any) -> Any:
        calls.append(arguments)
        return method(*arguments)

    model.__dict__[name] = call
    try:
        yield calls
    finally:
        if shadowed is None:
            del model.__dict__[name]
        else:
            model.__dict__[name] = shadowed
    if not calls:
        raise RuntimeError(f"{type(model).__name__} did not call its {name}")


def _messages(
    model: SliceCompressionModel, streams: LatentStreams, z_hat: list[Tensor]
) -> list[Message]:
    """The symbols and indexes of each image, in the steps in which the model decodes them."""
    _, tables = model.cdf_tables()
    messages: list[Message] = []
    for string, z in zip(streams.y, z_hat, strict=True):
        reader = _Recorder(open_stream(string, tables, streams.layout))
        model._latents(z, SliceDecoder(reader, model.gaussian_conditional.scale_table))
        reader.finish()
        messages.append(reader.message)
    return messages


class _Recorder:
    """A reader that keeps what it reads."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self.message: list[tuple[np.ndarray, np.ndarray]] = []
        self.finish = reader.finish

    def decode(self, indexes: np.ndarray) -> np.ndarray:
        symbols = self._reader.decode(indexes)
        self.message.append((symbols.copy(), indexes.copy()))
        return symbols


class _Replay:
    """A reader to which every symbol is known."""

    def __init__(self, message: Message) -> None:
        self._steps = iter(message)

    def decode(self, indexes: np.ndarray) -> np.ndarray:
        symbols, _ = next(self._steps)
        return symbols

    def finish(self) -> None:
        """Nothing to check."""
