# Everything a newcomer needs; `make` shows the list. Nothing here needs more than make and Python 3.11 or newer.
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
PEERS := bench/peers/.venv
# Containers often set it. Without byte code each process of ours compiles 400 files first: 2.5 times the time to start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check fix bench bench-peers setup setup-stripe setup-dev pages lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*## "} {printf "  make %-12s %s\n", $$1, $$2}'

demo: setup ## Watch a sale from start to sold out (options: ARGS="--buyers 5000")
	@$(BIN)/doorbuster demo $(ARGS)

test: setup-dev ## Run all tests (options: ARGS="-k expiry")
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

check: setup-dev ## Lint, format, types, import directions, house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/tidy.py

fix: setup-dev ## Let the linter and the formatter mend what they can
	-$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Measure against the targets (options: ARGS="refusal --seconds 5")
	@$(BIN)/python -m bench $(ARGS)

bench-peers: $(PEERS)/.installed ## Install what the compared services need, apart from ours

setup: $(RUNTIME) ## Make .venv/bin/doorbuster

setup-stripe: setup ## Add Stripe's library, for shops that are paid through it
	@$(BIN)/python tools/install.py $(VENV) requirements/stripe.txt

setup-dev: $(DEV) ## Add the tools for tests and checks

pages: setup ## Write anew what the documentation has from the code
	@$(BIN)/python tools/pages.py

lock: ## Pin all requirements anew, with hashes (needs uv)
	@command -v uv >/dev/null || { echo 'uv is missing: pip install uv'; exit 1; }
	@for name in requirements/pip requirements/runtime requirements/alerts requirements/kubernetes requirements/otel requirements/stripe requirements/dev bench/peers/requirements; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	    --custom-compile-command 'make lock' $$name.in -o $$name.txt || exit 1; done

clean: ## Remove the environments and caches; data of sales stays
	rm -rf $(VENV) $(PEERS) .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(RUNTIME): requirements/runtime.txt pyproject.toml tools/install.py
	@python=$$(PYTHON="$(PYTHON)" sh tools/find-python) && $$python tools/install.py $(VENV) requirements/runtime.txt --editable
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.txt
	@$(BIN)/python tools/install.py $(VENV) requirements/dev.txt
	@touch $@

$(PEERS)/.installed: bench/peers/requirements.txt tools/install.py
	@python=$$(PYTHON="$(PYTHON)" sh tools/find-python) && $$python tools/install.py $(PEERS) bench/peers/requirements.txt
	@touch $@
