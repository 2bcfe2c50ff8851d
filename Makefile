SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help up down restart status test lint format generate lock bench chaos compare e2e-airflow clean distclean

PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=
CHAOS_ARGS ?=
E2E_ARGS ?=
COMPARE_ARGS ?=
PEER ?=
BIN := .venv/bin

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Set up and start everything on this machine
	@scripts/bootstrap up
	@$(BIN)/windsock up --detach

down: ## Stop everything
	@if [ -x $(BIN)/windsock ]; then $(if $(filter up,$(MAKECMDGOALS)),$(BIN)/windsock restart --check && )$(BIN)/windsock down; else echo "Nothing is set up here; start with: make up"; fi

restart: ## Stop everything and start it with the present settings, where these have no mistake
	@scripts/bootstrap up
	@$(BIN)/windsock restart

status: ## Show what runs, where, and what to do about what does not
	@if [ -x $(BIN)/windsock ]; then $(BIN)/windsock status; else echo "Nothing is set up here; start with: make up"; fi

test: ## Run every test (PYTEST_ARGS="-k retry" for some)
	@scripts/bootstrap test
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: ## Check style, types and layers
	@scripts/bootstrap dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@if command -v shellcheck >/dev/null; then shellcheck scripts/bootstrap scripts/lock .ci/run deploy/postgres/10-monitor.sh; fi

format: ## Format the code
	@scripts/bootstrap dev
	@$(BIN)/ruff check --fix --exit-zero
	@$(BIN)/ruff format

generate: ## Write the files that are generated from the catalogue and the settings
	@scripts/bootstrap dev
	@$(BIN)/windsock generate

lock: ## Pin the dependencies anew (needs uv)
	@scripts/lock

bench: ## Measure tasks, alerts, the StatsD bridge and the machine (BENCH_ARGS=--all for everything, PEER=airflow)
	@scripts/bootstrap dev
	@$(BIN)/python -m benchmarks $(if $(PEER),--peer $(PEER)) $(BENCH_ARGS)

compare: ## Run the semantics' DAG files and compare with what Airflow did (PEER=airflow: run it too and record anew)
	@scripts/bootstrap test
	@$(BIN)/python -m tests.compare_airflow $(if $(PEER),--peer $(PEER)) $(COMPARE_ARGS)

chaos: ## Kill schedulers, supervisors and the database while they work (CHAOS_ARGS="--seed 7 --database mariadb")
	@scripts/bootstrap test
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

e2e-airflow: ## Run real Airflows (2.11 and 3.3) into the exporter and compare with their databases (E2E_ARGS="-k 3.3")
	@scripts/bootstrap test
	@$(BIN)/python -m pytest tests/e2e_airflow/airflow_e2e.py tests/e2e_airflow/notify_e2e.py -p no:xdist --timeout 1800 --log-cli-level=INFO $(E2E_ARGS)

clean: ## Remove caches and build results
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist bench-results
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## Remove also the virtual environment and the downloaded tools
	@rm -rf .venv .tools
