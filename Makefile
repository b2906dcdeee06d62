# Thin: the environment, and the commands that use it. Python 3.11 or newer is all that it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
# Numba's compiled kernels and pip's files stay inside the project's own environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup demo test test-slurm check format bench lock clean

help:
	@echo "make setup   the environment in $(VENV), from requirements.lock"
	@echo "make demo    a synthetic volume from source to results/demo/report.html"
	@echo "make test    every check and test"
	@echo "make test-slurm  runs and drills on a Slurm of virtual nodes; as root, installs Slurm"
	@echo "make check   formatting, lint, types, layers"
	@echo "make bench   speed, as ratios against named peers in one run"
	@echo "make lock    requirements.lock anew from pyproject.toml"

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: give a newer one, make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv: apt-get install python3-venv" >&2; exit 1; }
	@echo "setup: making $(VENV) from requirements.lock (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(STAMP)
	@snakemake --configfile config/volume.yaml
	@echo "demo: open results/demo/report.html"

check: $(STAMP)
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	mypy
	lint-imports

format: $(STAMP)
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

test: check
	@# a file stays with one worker: what its tests share is made once
	pytest -n 2 --dist loadfile --durations=15

test-slurm: $(STAMP)
	@# a test that hangs ends pytest, and would leave its Slurm behind
	pytest --durations=0 -rs tests/slurm; status=$$?; \
	  [ "$$(id -u)" != 0 ] || tests/slurm/cluster.sh down; exit $$status

bench: $(STAMP)
	python -m benchmarks

lock: pyproject.toml
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet torch==2.13.0
	$(VENV)-lock/bin/python -m pip install --quiet '.[dev,slurm,openvino,onnx]'
	@{ echo "# Made by 'make lock' from pyproject.toml: every package of the environment, by version."; \
	   $(VENV)-lock/bin/python -m pip freeze --exclude dcan | sed -e 's/^\(torch==[0-9.]*\)+.*/\1/'; } > requirements.lock
	@for env in envs/cpu.yaml envs/gpu.yaml; do \
	   { sed '/==/d' $$env; sed -n 's/^[^#]/      - &/p' requirements.lock; } > $$env.new && mv $$env.new $$env; done
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
