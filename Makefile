# make demo    install into .venv, then train, answer, check and write report.html
# make test    linters, types, import contract and tests
#
# PYTHON: the interpreter to build on. VENV: where to install. ARGS: passed on to the command.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
SHELL := /bin/sh

.PHONY: demo test test-slow test-peers lint study bench constraints clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed-nano
	@$(BIN)/consilience demo $(ARGS)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(ARGS)

test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m slow $(ARGS)

# The adapters against the real packages, each in an environment of its own under build/peers.
test-peers:
	$(PYTHON) tools/test_peers.py $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every claim of the foundation recipe; hours. Interrupt it at will: the same command goes on.
study: $(VENV)/.installed-nano
	$(BIN)/consilience run step_r1_v_mini --study --out runs/step_r1_v_mini/study --resume $(ARGS)

bench: $(VENV)/.installed-dev
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# Pin what the tests have just passed with.
constraints: test
	@{ echo "# Versions that 'make test' passed with; refreshed by 'make constraints'."; \
	  $(BIN)/python -m pip list --format=freeze --exclude consilience --exclude pip --exclude setuptools \
	  | sed 's/+[A-Za-z0-9.]*$$//'; } > constraints.txt.new
	@mv constraints.txt.new constraints.txt
	@touch $(VENV)/.installed-*

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.installed-%: pyproject.toml constraints.txt tools/install.py
	@command -v $(PYTHON) >/dev/null || { echo "Cannot install: there is no $(PYTHON); install Python 3.11 or newer (sudo apt install python3 python3-venv)."; exit 1; }
	@$(PYTHON) tools/install.py --venv $(VENV) --extra $*
