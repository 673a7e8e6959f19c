# Every target sets itself up: it needs only Python 3.11 or newer, make and a network.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CORES ?= $(shell $(PYTHON) -c "import os; print(os.cpu_count() or 1)")
# Some tests wait for clusters, servers and killed runs: one more at a time than there are cores.
WORKERS ?= $(shell expr $(CORES) + 1)
SHELL := /bin/bash

.PHONY: help install demo test test-fast lint format lock schemas docs bench bench-gpu slurm-packages clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(INSTALLED): requirements/lock.txt requirements/uv.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'transferscope needs Python 3.11 or newer; set PYTHON=')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements/lock.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --offline --editable .
	touch $(INSTALLED)

install: $(INSTALLED)  ## Create .venv with the locked dependencies and the package

demo: $(INSTALLED)  ## Run the main job on the built-in demo study, offline
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores $(CORES) --resources gpu=1
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores 1 --report results/demo/snakemake-report.html

test: $(INSTALLED)  ## Run every test
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 20

test-fast: $(INSTALLED)  ## Run the tests that take seconds
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" pytest -m "not workflow" --numprocesses $(CORES)

lint: $(INSTALLED)  ## Check style, types, workflow and generated schemas
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	PYTHONPATH=workflow $(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint

format: $(INSTALLED)  ## Format the code and the workflow
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

lock: $(INSTALLED)  ## Refresh the hashed lock files
	$(BIN)/uv pip compile requirements/uv.in --upgrade --generate-hashes --universal --python-version 3.11 --custom-compile-command "make lock" --quiet --output-file requirements/uv.txt
	$(BIN)/uv pip compile pyproject.toml --upgrade --extra dev --extra docs --extra efficientnet --extra harmony --extra remote --extra slurm --extra transformers --generate-hashes --universal --python-version 3.11 --custom-compile-command "make lock" --quiet --output-file requirements/lock.txt

schemas: $(INSTALLED)  ## Regenerate the JSON schemas and the defaults from the config models
	$(BIN)/transferscope schemas --output workflow/schemas --defaults workflow/defaults.yaml

docs: $(INSTALLED)  ## Build the documentation's site into site/; a warning is an error
	rm -rf site
	$(BIN)/zensical build --clean --strict

bench: $(INSTALLED)  ## Measure the speed ratios and write docs/performance.md's table
	$(BIN)/python benchmarks/run.py --output docs/performance.md

bench-gpu: $(INSTALLED)  ## Measure embedding and probes on a GPU; prints tables, or that there is no GPU
	$(BIN)/python benchmarks/gpu.py

slurm-packages:  ## Install Debian's Slurm, for the tests of the Slurm profile; needs root
	@if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && ! command -v slurmctld > /dev/null; then \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge > /dev/null \
			|| echo "Slurm could not be installed: its tests will be skipped"; \
	fi

clean:  ## Remove the environment, the site and every result
	rm -rf $(VENV) results .snakemake .cache site
