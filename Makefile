# Two commands on a fresh machine: `make demo` and `make test`. Both do their own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
# Any Python from 3.11 on; PYTHON=... picks one.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
# End-to-end tests that run side by side; they mostly wait for each other's processes.
E2E_PROCESSES ?= 2
# setuptools warns of every editable install.
PIP_INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo install test setup check unit e2e test-matrix benchmarks clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## Install into .venv and measure the built-in model on this machine
	$(BIN)/bench run

install: $(VENV)/.installed  ## Install edgebench into .venv, nothing else

test: setup check unit e2e  ## Everything: set-up, static checks, unit tests, end-to-end tests over real SSH

setup: $(VENV)/.installed-test  ## What the tests need, system packages included where that is allowed
	@tests/system_packages.sh

check: $(VENV)/.installed-test  ## Static checks: ruff, mypy, the star rule, the agent's Python 3.6
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vermin --quiet --no-tips --target=3.6- --violations \
		--exclude importlib.metadata --exclude time.perf_counter_ns device_agents

unit: $(VENV)/.installed-test  ## Unit tests, some 15 seconds
	$(BIN)/python -m pytest -m "not processes and not e2e and not real_model"

e2e: $(VENV)/.installed-test  ## End-to-end tests: real sshd, real runtimes, real converters, real browser, other Pythons
	@tests/agent_pythons.sh
	@tests/toolchains.sh
	$(BIN)/python -m pytest -m "processes or e2e or real_model" --numprocesses $(E2E_PROCESSES) --dist loadfile

test-matrix:  ## Unit and end-to-end tests on every Python from 3.11 on that is here
	@tests/matrix.sh

benchmarks: $(VENV)/.installed-test  ## What the harness itself costs: prints ratios from paired runs
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/own_time.py
	$(BIN)/python benchmarks/farm_scale.py
	$(BIN)/python benchmarks/many_boards.py

clean:  ## Remove what make made here
	rm -rf $(VENV) .test-env build *.egg-info

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "edgebench needs Python 3.11 or newer; found none. Install one, or: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { echo "$(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(PIP_INSTALL) --upgrade pip
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) --editable '.[test]'
	@touch $@
