# `make demo` and `make test` do all of their own set-up in .venv; they need
# Python 3.10 or newer with pip and venv, and a C++17 compiler.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := $(shell find csrc -type f 2>/dev/null)

.PHONY: demo test coverage lint aot sanitize wheel bench bench-rans bench-models chart clean

demo: $(INSTALLED)
	$(BIN)/lic-fast demo -o demo --overwrite

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=25 $(ARGS)

# By itself: Triton's interpreter takes more than twice as long while its lines are counted.
coverage: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --cov --cov-report=term $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(find csrc tests/csrc -name '*.cpp' -o -name '*.hpp')
	$(BIN)/mypy

# Triton kernels for GPUs that need not be here: registers, spills, shared memory.
aot: $(INSTALLED)
	$(BIN)/python -m tests.kernels.aot $(ARGS)

sanitize:
	tests/csrc/run.sh $(SECONDS_TO_FUZZ)

wheel: $(INSTALLED)
	$(BIN)/python -m build --wheel --outdir dist

bench: $(INSTALLED)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python -m pytest benchmarks --benchmark-only $(ARGS)

bench-rans: $(INSTALLED)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]'
	mkdir -p build
	$(BIN)/python -m pytest -q benchmarks/test_rans.py --benchmark-only --benchmark-json=build/rans.json
	$(BIN)/python benchmarks/report_rans.py build/rans.json > benchmarks/results/rans.md

# Sizes, batches, rounds: ARGS='--inputs 768x512 1920x1080 768x512x8 --rounds 5', or --help.
MODELS_JSON ?= build/models.json

bench-models: $(INSTALLED)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.models -o $(MODELS_JSON) $(ARGS)
	$(BIN)/python benchmarks/report_models.py $(MODELS_JSON) > benchmarks/results/models.md

chart: $(INSTALLED)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/chart_models.py $(MODELS_JSON) -o docs/models.svg

# Editable, so that Python files are used as they are; C++ files ask for a new build.
$(INSTALLED): pyproject.toml setup.py constraints.txt $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist demo *.egg-info lic_fast/_C*.so .coverage
