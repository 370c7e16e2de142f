# `make test` on a bare machine with Python 3.11+ needs pip and nothing else.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/
PACKAGES := engine projections api order_engine client/order_engine_client

# One more than there are cores: tests of crashes and of health wait for leases and time-outs as often as they compute.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))

DATA ?= data
PORT ?= 8080

.PHONY: help run setup lock test test-full dist audit check format bench torture clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.installed ## the sandbox on 127.0.0.1:8080: prints a client and a first order to paste
	@$(RUN)order-engine sandbox --data $(DATA) --port $(PORT)

# Only what it takes to run.
$(VENV)/.installed: setup.cfg pyproject.toml client/pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "order-engine needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV): a minute or so, the first time."
	$(PYTHON) -m venv $(VENV)
	@if $(PYTHON) -c 'import sys; sys.exit(sys.platform != "linux")'; then \
		$(RUN)pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
		$(RUN)pip install --quiet --disable-pip-version-check --no-deps --editable . --editable ./client; \
	else \
		echo "The lock is for Linux: installing by the ranges of setup.cfg and client/pyproject.toml."; \
		$(RUN)pip install --quiet --disable-pip-version-check --editable '.[fast]' --editable ./client; \
	fi
	@touch $@

lock: ## renew requirements.lock within its ranges, with hashes; needs the network
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --disable-pip-version-check pip-tools
	build/lock/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-header --no-annotate \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --extra fast \
		--output-file build/requirements.lock setup.cfg client/pyproject.toml
	{ head -1 requirements.lock; cat build/requirements.lock; } > build/new.lock
	mv build/new.lock requirements.lock

setup: $(VENV)/.ready ## virtual environment with everything tests and checks need

$(VENV)/.ready: $(VENV)/.installed
	$(RUN)pip install --quiet --disable-pip-version-check --editable '.[fast,test,check]' --editable ./client
	@touch $@

test: setup ## the whole suite, SQLite and PostgreSQL
	@$(RUN)python -m compileall -q $(PACKAGES) tests  # once, and not in each process that tests start
	$(RUN)python -m pytest -n $(WORKERS) --dist worksteal

test-full: setup audit ## what takes minutes, or a browser, nats-server, node: CONTRIBUTING.md
	$(RUN)pip install --quiet --disable-pip-version-check --editable '.[fix]'  # compiled once: minutes
	$(RUN)python -m pytest -m full --full

dist: setup ## both wheels in dist/, tried in empty environments: serve, /docs, the README's example
	@$(RUN)python -m tests.support.checkers.dist dist

audit: setup ## known vulnerabilities of what is installed, by pip-audit; needs the network
	@$(RUN)python -m tests.support.checkers.audit

check: setup ## format, lint, types, import rules
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)mypy
	$(RUN)python -m pytest -q tests/tidy

format: setup ## write the format and the safe fixes
	$(RUN)ruff format .
	$(RUN)ruff check --fix .

bench: setup ## all that is measured, beside its peers: 50 minutes, ratios with spread
	$(RUN)pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(RUN)python -m bench.append
	$(RUN)python -m bench.read
	$(RUN)python -m bench.audit
	$(RUN)python -m bench.replay
	$(RUN)python -m bench.rules
	$(RUN)python -m bench.token_timing
	$(RUN)python -m bench.streams
	$(RUN)python -m bench.place_orders
	$(RUN)python -m bench.lifecycle
	$(RUN)python -m bench.rebuild
	$(RUN)python -m bench.servicing
	$(RUN)python -m bench.webhooks

torture: setup ## the large runs of docs/reliability.md; the seed is printed
	$(RUN)python -m pytest -m torture --torture

clean: ## remove what was built
	rm -rf $(VENV) build dist client/build *.egg-info client/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
