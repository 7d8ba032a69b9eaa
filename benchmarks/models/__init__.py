"""Whole models, part by part: the plain operators, compilers of them, and the fast operators.

`python -m benchmarks.models -o build/models.json` measures, `benchmarks/report_models.py` and
`benchmarks/chart_models.py` show what it measured.
"""
