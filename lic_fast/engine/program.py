"""Programs of graphs with tensors for weights, run on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lic_fast.runtime import program
from lic_fast.runtime.graph import Graph

__all__ = ["Program", "array_of"]


class Program(program.Program):
    """See :class:`lic_fast.runtime.program.Program`; weights are tensors on the CPU."""

    def __init__(self, graph: Graph, bfloat16: bool, compact: bool = False) -> None:
        super().__init__(graph.with_weights(array_of), bfloat16, compact)

    def of_tensors(
        self, inputs: Sequence[Tensor], threads: int, band_rows: int = 0
    ) -> list[Tensor]:
        """The results for a batch of maps, as :meth:`run` writes them.

        Args:
            inputs: (B, H, W, C) float32 each, of one size, on the CPU.
            threads: That compute.
            band_rows: Rows of the first result that are computed at a time; 0: as is best.

        Returns:
            (B, H', W', C') float32 each.

        Raises:
            ValueError: The sizes do not fit the network.
        """
        batch, height, width = inputs[0].shape[:3]
        out = [
            torch.empty((batch, rows, columns, channels), dtype=torch.float32, device="cpu")
            for (rows, columns), channels in zip(
                self.output_sizes(height, width), self.channels, strict=True
            )
        ]
        self.run([x.detach().numpy() for x in inputs], [x.numpy() for x in out], threads, band_rows)
        return out


def array_of(weight: Tensor) -> Any:
    """A weight as an array of float32."""
    return weight.detach().float().contiguous().numpy()
