"""``lic-fast models``."""

from __future__ import annotations

from lic_fast.cli.console import print_table

__all__ = ["models"]


def models() -> None:
    """List the models of the zoo: names that --model takes."""
    from rich.table import Table

    from lic_fast import zoo

    table = Table("name", "architecture", "lambda", "Kodak bpp", "Kodak PSNR", "description")
    for name in zoo.names():
        entry = zoo.describe(name)
        shown = f"{name} (default)" if name == zoo.DEFAULT else name
        table.add_row(
            shown,
            entry.architecture,
            f"{entry.lambda_}",
            f"{entry.kodak_bpp:.3f}",
            f"{entry.kodak_psnr:.2f} dB",
            entry.description,
        )
    print_table(table)
