# Needs git, make and Python 3.11 or later; everything else is set up in .venv on first use.

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
BIN := .venv/bin
PYTEST_ARGS ?= -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo run test lint gen bench proof clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

demo: setup ## one purchase in a chat, from link to receipt, against local stand-ins
	@$(BIN)/comptoir-server demo

run: setup ## the same servers, kept running for you to use
	@$(BIN)/comptoir-server demo --keep

test: lint ## every check and every test, ending with what was skipped and why
	@echo '== tests'
	@$(BIN)/python -m pytest -q -m 'not load' -p tests.skips $(PYTEST_ARGS)

lint: setup ## style, types, rooms, protos, stubs
	@echo '== style: ruff'
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --diff .
	@echo '== types: mypy --strict'
	@$(BIN)/mypy --no-error-summary
	@echo '== rooms: import-linter'
	@$(BIN)/lint-imports --no-cache > .venv/rooms.log || { cat .venv/rooms.log; exit 1; }
	@echo '== protos: buf lint, format, breaking'
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code
	@sh .ci/breaking $(BIN)/buf
	@echo '== stubs: what the protos say'
	@$(BIN)/python clients/generate.py --check

gen: setup ## stubs and error classes from the protos
	@$(BIN)/python clients/generate.py

bench: setup ## measure speed on this machine
	@$(BIN)/python -m tests.load.bench $(BENCH_ARGS)

proof: setup ## hours of what `make test` runs in short, into tests/proof/REPORT.md; goes on where it was
	@$(BIN)/python -m tests.proof $(PROOF_ARGS)

clean: ## remove everything that was made here
	rm -rf .venv .venv-generate .comptoir dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: .venv/ready

# uv comes first, by pip and by its hashes in the lock; uv then installs the rest of the lock in seconds.
.venv/ready: requirements.lock pyproject.toml clients/python/pyproject.toml
	@test -n '$(PYTHON)' || { echo 'Comptoir needs Python 3.11 or later, and found none as python3.' >&2; exit 1; }
	@echo 'Setting up .venv (once, under a minute)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo 'Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv' >&2; exit 1; }
	@awk '/^uv==/ { found = 1 } found { print } found && !/\\$$/ { exit }' requirements.lock > .venv/uv.lock
	@echo '  1/3 the installer'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r .venv/uv.lock
	@echo '  2/3 packages, by the hashes in requirements.lock'
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	@echo '  3/3 comptoir and comptoir-server'
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . -e clients/python
	@touch $@
