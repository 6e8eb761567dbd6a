# Every way to use the project, by name. `make help` prints the comments behind the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

ARCH ?= $(shell uname -m | sed s/aarch64/arm64/)
VENV := .venv
# The Python tools, zig among them, come before whatever the machine has.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
FUNCTIONS := dcgm-to-cloudwatch grafana-datasource-setup
HOST_ARCH := $(shell uname -m | sed s/aarch64/arm64/)

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- What is needed

.PHONY: tools
tools: $(VENV)/.complete ## Installs what is missing: Prometheus (Debian), cargo-lambda, AWS CLI, linters (Python, project-local)
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || $(call apt,prometheus)
	@command -v cc >/dev/null || $(call apt,gcc libc6-dev)
	@command -v cmake >/dev/null || true

$(VENV)/.complete: requirements.txt
	@command -v python3 >/dev/null || $(call apt,python3 python3-venv)
	@echo "Installing the Python tools into $(VENV)"
	@python3 -m venv $(VENV) || { $(call apt,python3-venv) && python3 -m venv $(VENV); }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

# Installs Debian packages where that is allowed, else says how.
apt = { packages="$(1)"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing $$packages"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$packages >/dev/null; \
	else \
		echo "missing: $$packages; install them with: sudo apt-get install $$packages" >&2; exit 1; \
	fi; }

# ---- Build

.PHONY: build
build: tools ## Builds both functions to target/lambda/<name>/bootstrap [ARCH=x86_64|arm64, the default is this machine's]
	@case "$(ARCH)" in \
		x86_64) flag=--x86-64 ;; \
		arm64) flag=--arm64 ;; \
		*) echo "ARCH=$(ARCH): expected x86_64 or arm64" >&2; exit 1 ;; \
	esac; \
	cargo lambda build --release --locked $$flag $(FUNCTIONS:%=--package %)

# ---- Try and test

.PHONY: demo
demo: build-here ## Runs the main job on real parts on this machine, no AWS account needed
	@cargo run --quiet --locked --package tests --bin demo

.PHONY: test
test: build-here ## Runs every test; installs what they need first
	cargo test --locked --workspace

# Tests run what is built for this machine, whatever ARCH is deployed.
.PHONY: build-here
build-here:
	@$(MAKE) build ARCH=$(HOST_ARCH)

.PHONY: check
check: tools ## Lint gates: rustfmt, clippy, rustdoc, dependencies, templates, shell scripts
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny --offline check bans licenses sources
	cargo deny check advisories || { echo "advisories: the database could not be read" >&2; $(if $(CI),true,false); }
