# `make` lists what there is. Everything runs in .venv, which `make setup` makes.
.DEFAULT_GOAL := help
.PHONY: help setup recommend test lint lock audit doctor clean

BIN := .venv/bin
USER_ID ?= 196
AT ?= Friday 21:00
PLACE ?= Minneapolis, MN
K ?= 5
# Tests run in so many processes, each with a vLLM of its own at times: about 6 GiB.
TEST_JOBS ?= $(shell awk '/MemAvailable/ {print ($$2 > 14000000) ? 2 : 1}' /proc/meminfo)

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: ## install everything into .venv (minutes the first time, then nothing to do)
	@bash scripts/setup.sh

recommend: setup ## five films for a real user, with true reasons
	@$(BIN)/recsys recommend --domain movies --user "$(USER_ID)" --at "$(AT)" --place "$(PLACE)" -k $(K)

test: lint ## lint, then all tests (the real engine included)
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

lint: setup ## ruff, the order of imports, and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

lock: setup ## resolve pyproject.toml anew into requirements/cpu.lock
	$(BIN)/python scripts/lock.py

audit: setup ## ask whether a locked package is known to be vulnerable (in CI it must be able to ask)
	$(BIN)/python scripts/audit.py

doctor: setup ## check every part, the engine too, and name the fix of each that fails
	@$(BIN)/recsys doctor --engine

clean: ## remove build output and tool caches (.venv and your data stay)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
