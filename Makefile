# yinqi: two commands do everything: `make demo` and `make test`. Needs Python >= 3.11, Rust (cargo) and make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
PYTHON ?= python3
BIN := .venv/bin
# Half of the suite's time is waiting for processes, so two workers need little more than half of it; each starts its own servers.
PYTEST_WORKERS ?= 2
CONSTRAINTS := .ci/constraints.txt
CRATES := crypto_core grpc_core
RUST_SOURCES := $(shell find $(CRATES) -name '*.rs' -not -path '*/target/*' 2>/dev/null) $(foreach crate,$(CRATES),$(crate)/Cargo.toml $(crate)/Cargo.lock)
PROTOS := $(shell find protos -name '*.proto')
export VIRTUAL_ENV := $(CURDIR)/.venv
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo up test test-python test-rust check bench bench-crypto evidence protos clean

help: ## Show the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: setup ## Set up, pay real files through the sandbox bank, reconcile two days
	@$(BIN)/yinqi demo $(DEMO_OPTIONS)

up: setup ## Set up, start all services and keep them running
	@$(BIN)/yinqi up

test: test-rust test-python ## Set up and run all tests

test-rust: setup-dev
	@for crate in $(CRATES); do cargo test --release --quiet --manifest-path $$crate/Cargo.toml; done

test-python: setup-dev
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(PYTEST_OPTIONS)

check: setup-dev ## Format, lint, types, contracts, protos
	@set -x
	$(BIN)/ruff format --check services tests
	$(BIN)/ruff check services tests
	$(BIN)/mypy
	MYPYPATH=services $(BIN)/python -m mypy.stubtest yinqi.crypto._core
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint && cd ..
	$(BIN)/python -m pytest tests/architecture
	for crate in $(CRATES); do
	  cargo fmt --check --manifest-path $$crate/Cargo.toml
	  cargo clippy --quiet --all-targets --manifest-path $$crate/Cargo.toml -- -D warnings
	  cargo clippy --quiet --features python --manifest-path $$crate/Cargo.toml -- -D warnings -D clippy::undocumented_unsafe_blocks
	done

bench: setup-dev ## Measure acceptance and the whole path on SQLite and PostgreSQL
	@$(BIN)/python -m tests.bench $(BENCH_OPTIONS)

bench-crypto: setup-dev ## Measure signing and verifying beside other packages
	@$(BIN)/python -m tests.bench.crypto

evidence: setup-dev ## Print the long evidence: make evidence PARTS="timing memory" (all by default)
	@$(BIN)/python -m tests.evidence $(PARTS)

protos: setup-dev ## Generate services/yinqi/api from protos/
	@.ci/generate-protos

setup: .venv/.installed
setup-dev: .venv/.installed-dev

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"yinqi needs Python 3.11 or newer; $(PYTHON) is {sys.version.split()[0]}. Try: make PYTHON=python3.12 …")'
	command -v cargo >/dev/null || { echo "yinqi needs Rust: cargo was not found on PATH. Install rustup, then try again."; exit 1; }
	echo "[1/3] virtual environment .venv"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) uv

.venv/.installed: .venv/bin/uv pyproject.toml $(CONSTRAINTS) $(RUST_SOURCES)
	@echo "[2/3] pinned dependencies"
	$(BIN)/uv pip install -c $(CONSTRAINTS) -r pyproject.toml maturin
	echo "[3/3] Rust extensions (release build): cryptography, gRPC"
	$(BIN)/maturin develop --release --uv
	$(BIN)/maturin develop --release --uv --manifest-path grpc_core/Cargo.toml
	touch $@

.venv/.installed-dev: .venv/.installed
	@echo "[dev] tools for tests and checks"
	$(BIN)/uv pip install --quiet -c $(CONSTRAINTS) -r pyproject.toml --extra dev
	$(BIN)/uv pip install --quiet -c $(CONSTRAINTS) -r pyproject.toml --extra oracles 2>/dev/null || echo "      gmalglib was not built (no C compiler or Python headers); its comparisons are skipped"
	touch $@

clean: ## Remove everything that was built or written by running
	@rm -rf .venv var $(CRATES:=/target) services/yinqi/crypto/*.so
