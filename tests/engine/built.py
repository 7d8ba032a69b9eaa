"""Programs for tests."""

import numpy as np

THREADS = 3


def numbers(shape, seed, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


class Built:
    """A program of a builder's maps, with so many channels."""

    def __init__(self, builder, outputs, channels):
        self.program, self.channels = builder.build(outputs), channels

    def run(self, inputs, threads=THREADS, band_rows=0):
        """Outputs of images (B, H, W, C)."""
        sizes = self.program.output_sizes(*inputs[0].shape[1:3])
        outputs = [
            np.full((len(inputs[0]), *size, channels), np.nan, np.float32)
            for size, channels in zip(sizes, self.channels, strict=True)
        ]
        self.program.run(inputs, outputs, threads, band_rows)
        return outputs
