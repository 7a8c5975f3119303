# Plateau needs Python >= 3.11, make and pip's registry; everything else is installed into .venv.
# Kept to what GNU make 3.81 knows, which macOS still ships.

.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
EXTRAS_RUN := server,worker
EXTRAS_DEV := server,worker,dev

# Address of another wheel index for torch; empty: the registry's own build.
TORCH_INDEX ?=

# Shell that finds a fitting interpreter, or says what is missing.
FIND_PYTHON = for name in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Plateau needs Python 3.11 or newer and found none; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi

INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: help run test test-golden lint bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

run: $(VENV)/.run ## install what is missing, start the server and a worker on this machine
	@$(BIN)/plateau up

test: $(VENV)/.dev lint ## lint, then every test (under 15 minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

test-golden: $(VENV)/.dev ## nanoGPT's Shakespeare run again, evaluation by evaluation (minutes; needs PLATEAU_TEST_DATA)
	$(BIN)/python -m pytest -m golden tests/test_golden_*.py

lint: $(VENV)/.dev ## ruff, mypy, hadolint and the compose schema
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

bench: $(VENV)/.dev ## measure what docs/performance.md states
	$(BIN)/python -m bench

clean: ## remove the virtual environment and caches; data/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

$(BIN)/pip:
	@$(FIND_PYTHON); \
	echo "Making $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV) || { echo "This Python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

# An environment made for the tests serves `make run` too, hence the second stamp.
$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/pip
	@$(HINT)
	@$(INSTALL) -e '.[$(EXTRAS_RUN)]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/pip
	@$(HINT)
	@$(INSTALL) -e '.[$(EXTRAS_DEV)]'
	@touch $(VENV)/.run $@

# On Linux the registry's torch brings CUDA's libraries, whether or not there is a card.
HINT = if [ "$$(uname)" = Linux ] && [ -z "$(TORCH_INDEX)" ] && ! command -v nvidia-smi >/dev/null \
	  && ! $(BIN)/python -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; then \
	  echo "No NVIDIA driver here: for the small CPU build of torch, stop now and give its index, as on PyTorch's install page: make $(MAKECMDGOALS) TORCH_INDEX=<address>"; \
	fi
