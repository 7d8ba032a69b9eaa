"""Turns the JSON of `pytest benchmarks/test_rans.py --benchmark-json` into a Markdown table.

python benchmarks/report_rans.py build/rans.json > benchmarks/results/rans.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

BASE = "compressai.ans, lists"
TITLES = {"trained": "most scales small", "uniform": "scales uniform"}


def main() -> None:
    """Reads the file that is named and prints the report."""
    report = json.loads(Path(sys.argv[1]).read_text())
    cpu = report["machine_info"]["cpu"]
    results: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
    for entry in report["benchmarks"]:
        info = entry["extra_info"]
        rows = results.setdefault((info["distribution"], info["size"]), {})
        row = rows.setdefault(info["coder"], {})
        row[info["operation"]] = info["size"] / entry["stats"]["median"] / 1e6
        row["overhead"] = info["stream_bytes"] / info["ideal_bytes"] - 1
        row["ideal"] = info["ideal_bytes"]
    print("# Entropy coders\n")
    print("`make bench-rans`: medians, as called from Python; in brackets the ratio to")
    print(f"{BASE}. {cpu['brand_raw']}, {cpu['count']} cores. What is compared stands at the top")
    print("of `benchmarks/test_rans.py`; the last column is the stream's length over that of ideal")
    print("arithmetic coding with the same tables (constriction has tables of its own).")
    for (distribution, size), rows in results.items():
        bits = 8 * rows[BASE]["ideal"] / size
        print(f"\n## {size:,} symbols, {TITLES[distribution]}: {bits:.2f} bits per symbol\n")
        print("| | encode, Msymbol/s | decode, Msymbol/s | length |")
        print("|---|---|---|---|")
        for coder, row in rows.items():
            speeds = (
                f"{row[operation]:.0f} ({row[operation] / rows[BASE][operation]:.1f})"
                for operation in ("encode", "decode")
            )
            print(f"| {coder} | {' | '.join(speeds)} | +{row['overhead']:.2%} |")


if __name__ == "__main__":
    main()
