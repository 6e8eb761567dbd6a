# Every way to use the project, by name. `make help` prints the comments behind the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
# The Python tools, zig among them, come before whatever the machine has.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
FUNCTIONS := dcgm-to-cloudwatch grafana-datasource-setup
HOST_ARCH := $(shell uname -m | sed s/aarch64/arm64/)
# What is deployed is for Graviton unless asked otherwise; what tests and demo run is for here.
DEPLOY_ARCH := $(or $(ARCH),arm64)
ARCH ?= $(HOST_ARCH)

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-11s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- What is needed

.PHONY: tools
tools: test-packages demo-tools $(VENV)/.complete ## Installs what is missing; Prometheus, Alertmanager, cargo-lambda, AWS CLI and linters into .venv [APT=no]

.PHONY: demo-tools
demo-tools: demo-packages $(VENV)/.demo $(VENV)/bin/prometheus
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }

$(VENV)/.demo: requirements.txt | demo-packages
	@echo "Installing AWS CLI and MiniStack into $(VENV)"
	@python3 -m venv $(VENV)
	@$(call install,requirements.txt)

$(VENV)/.complete: requirements-dev.txt $(VENV)/.demo
	@echo "Installing cargo-lambda and linters into $(VENV)"
	@$(call install,requirements-dev.txt)

install = $(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $(1) && touch $@

PROMETHEUS_INSTALL := tests/testkit/src/real/prometheus/install.sh
$(VENV)/bin/prometheus: $(PROMETHEUS_INSTALL) | $(VENV)/.demo
	@echo "Getting Prometheus and Alertmanager into $(VENV)"
	@$(PROMETHEUS_INSTALL) $(@D)
	@touch $@

# Only these install anything system-wide.
.PHONY: demo-packages
demo-packages:
	@$(apt); $(demo-needs); install_missing

.PHONY: test-packages
test-packages:
	@$(apt); $(demo-needs); $(test-needs); install_missing

.PHONY: pictures-packages
pictures-packages:
	@$(apt); $(pictures-needs); install_missing

# need WHY "PACKAGES" TEST…: the test succeeds where the packages are not missing.
demo-needs = \
	need "links what cargo builds" "gcc libc6-dev" type cc; \
	need "makes $(VENV)" "python3 python3-venv" python3 -c "import ensurepip"
test-needs = \
	need "checks the shell scripts" "shellcheck" type shellcheck; \
	need "checks the systemd units of the nodes" "systemd" type systemd-analyze; \
	need "tries the package sources of the nodes" "gpg gpg-agent dnf rpm createrepo-c" \
		type gpg gpg-agent dnf rpmbuild createrepo_c; \
	need "draws the dashboards" "chromium-headless-shell fonts-inter" \
		bash -c "type chromium-headless-shell || type chromium || type google-chrome"
pictures-needs = need "makes the pictures small" "pngquant" type pngquant

# Installs missing Debian packages and says why; with APT=no, or without root, says how to install them.
apt = missing=""; \
	need() { \
		if ! "$${@:3}" >/dev/null 2>&1; then \
			missing+=" $$2"; echo "Missing on this system: $$2 ($$1)" >&2; \
		fi; \
	}; \
	install_missing() { \
		if [ -z "$$missing" ]; then return; fi; \
		if [ "$(APT)" != no ] && [ "$$(id -u)" = 0 ] && type apt-get >/dev/null 2>&1; then \
			echo "Installing$$missing with apt-get, system-wide. To decline: make $(MAKECMDGOALS) APT=no" >&2; \
			apt-get update -qq; \
			DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
		else \
			echo "Install them with: sudo apt-get install$$missing" >&2; exit 1; \
		fi; \
	}

.PHONY: doctor
doctor: ## Says what is there, what is missing and how to get it; installs and changes nothing
	@bad=0; \
	say() { printf '%-8s %s: %s\n' "$$@"; }; \
	check() { if "$${@:4}" >/dev/null 2>&1; then say ok "$$1" "$$2"; else bad=1; say MISSING "$$1" "$$2: $$3"; fi; }; \
	need() { check "$$2" "$$1" "sudo apt-get install $$2" "$${@:3}"; }; \
	is_python() { python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }; \
	has_room() { [ "$$(df --output=avail -k . | tail -1)" -gt 12000000 ]; }; \
	$(demo-needs); $(test-needs); \
	check cargo "builds both functions" "install Rust from https://rustup.rs" type cargo; \
	check "Python 3.11" "runs the scripts of infra" "install a newer Python" is_python; \
	check "12 GB of disk" "for everything that cargo builds" "make room" has_room; \
	check $(VENV) "Prometheus, Alertmanager, AWS CLI, cargo-lambda, linters" "make tools" \
		test -e $(VENV)/.complete -a -x $(VENV)/bin/prometheus -a -x $(VENV)/bin/alertmanager; \
	if aws sts get-caller-identity >/dev/null 2>&1; then say ok credentials "deploy to an AWS account"; \
	else say none credentials "only a deployment to AWS needs them: aws configure, or aws sso login"; fi; \
	exit $$bad

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

# The functions as cargo builds them fastest; `make test` runs those that are deployed.
.PHONY: demo
demo: demo-tools ## Deploys the stack on this machine and shows it at work; no AWS account needed [APT=no DEMO_KEEP=1]
	@cargo build --locked --package demo --bin demo $(foreach name,$(FUNCTIONS),--package $(name) --bin $(name))
	@for name in $(FUNCTIONS); do install -D "target/debug/$$name" "target/demo/$$name/bootstrap"; done
	@BOOTSTRAP_DIR=target/demo target/debug/demo

# The lint gates come first: they fail within minutes.
# More tests at once than cores: they wait for clocks and services more than they compute.
.PHONY: test
test: lint build-here ## Runs the lint gates, then every test; installs what they need first [APT=no]
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} cargo test --locked --workspace

.PHONY: chaos
chaos: build-here ## Breaks every part, one after the other, and counts what is lost [CHAOS=--help]
	@cargo run --quiet --locked --package chaos -- $(CHAOS)

.PHONY: bench
bench: build-here ## Measures the function from 2 to 10,000 nodes, beside the daemon it replaces [BENCH=--help]
	@test -x target/bench-venv/bin/python || python3 -m venv target/bench-venv
	@target/bench-venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/bench/requirements.txt
	@cargo run --quiet --profile bench --locked --package bench -- \
		$(or $(BENCH),--python target/bench-venv/bin/python --write docs/performance.md --json target/bench.json)
	@$(if $(BENCH),,target/bench-venv/bin/python tests/bench/plot.py target/bench.json docs/performance.png)

# Three hours of a simulated cluster, minute by minute.
.PHONY: pictures
pictures: build-here pictures-packages ## Draws the dashboards to docs/img, as a person sees them [APT=no]
	@cargo run --quiet --locked --package pictures
	@pngquant --force --ext .png --strip --speed 1 docs/img/*.png

FUZZ_SECONDS ?= 600
.PHONY: fuzz
fuzz: ## Feeds garbage to every reader of outside bytes; needs a nightly Rust [FUZZ_SECONDS=600 each]
	@command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz
	@for pair in answer:fuzz/corpus/answer event:events/dcgm-to-cloudwatch \
			grafana:fuzz/corpus/grafana custom_resource:events/grafana-datasource-setup; do \
		target=$${pair%%:*} seeds=$${pair#*:}; mkdir -p "target/fuzz/$$target"; \
		cargo +nightly fuzz run "$$target" "target/fuzz/$$target" "$$seeds" -- -max_total_time=$(FUZZ_SECONDS); \
	done

# Tests run what is built for this machine, whatever ARCH is deployed.
.PHONY: build-here
build-here:
	@$(MAKE) build ARCH=$(HOST_ARCH)

.PHONY: lint
lint: tools ## The quick lint gates: rustfmt, templates, rules, shell scripts, clippy, rustdoc
	cargo fmt --all --check
	cfn-lint
	python3 infra/rules.py check
	shellcheck infra/parallelcluster/*.sh $(PROMETHEUS_INSTALL) .ci/run
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet

.PHONY: check
check: lint ## Every lint gate: the quick ones, and licences and sources of the dependencies
	@command -v cargo-deny >/dev/null || cargo install --quiet --locked cargo-deny
	cargo deny --log-level error check bans licenses sources

.PHONY: advisories
advisories: ## Looks the dependencies up in the RustSec database (needs GitHub)
	@command -v cargo-deny >/dev/null || cargo install --quiet --locked cargo-deny
	cargo deny check advisories

# ---- Deploy and operate, with the AWS CLI's own credentials

PAYLOAD ?= {}

example.STACK := pcluster-infra
example.CLUSTER := p5en
example.REGION := us-east-2
example.BUCKET := a-bucket-in-the-region
example.NAME := ParallelCluster-p5en
example.FROM := 2026-11-22T09:00:00Z
example.TO := 2026-11-22T10:00:00Z
# Of the variables a target needs, names all that are missing, with a whole command.
missing = $(strip $(foreach name,$(1),$(if $($(name)),,$(name))))
needs = $(if $(missing),$(error missing: $(missing). For example: \
	make $@ $(foreach name,$(1),$(name)=$(or $($(name)),$(example.$(name))))))

.PHONY: package
package: ## Builds, uploads and packages the stack to build/package [BUCKET= REGION= ARCH=arm64 XID_OVERRIDES=file]
	@: $(call needs,BUCKET REGION)
	@$(MAKE) build ARCH=$(DEPLOY_ARCH)
	AWS_DEFAULT_REGION="$(REGION)" python3 infra/package.py --bucket "$(BUCKET)" $(if $(XID_OVERRIDES),--xid-overrides "$(XID_OVERRIDES)")

.PHONY: deploy
deploy: ## Deploys or updates the stack [STACK= CLUSTER= REGION= BUCKET= ARCH=arm64 PARAMETERS="Name=Value …"]
	@: $(call needs,STACK CLUSTER REGION BUCKET)
	@$(stack) updatable --stack "$(STACK)"
	@$(MAKE) package ARCH=$(DEPLOY_ARCH)
	aws cloudformation deploy --region "$(REGION)" --stack-name "$(STACK)" \
		--template-file build/package/parallelcluster-infrastructure.yaml \
		--capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset \
		--parameter-overrides ClusterName="$(CLUSTER)" Architecture=$(DEPLOY_ARCH) $(PARAMETERS) || \
		{ $(stack) failures --stack "$(STACK)"; exit 1; }

stack = AWS_DEFAULT_REGION="$(REGION)" python3 infra/stack.py

.PHONY: failures
failures: ## Says why the stack's last operation failed [STACK= REGION=]
	@: $(call needs,STACK REGION)
	@$(stack) failures --stack "$(STACK)"

.PHONY: invoke
invoke: ## Runs dcgm-to-cloudwatch by hand [STACK= REGION= PAYLOAD='{"dryRun":true}']
	@: $(call needs,STACK REGION)
	@$(call run-by-hand,$(PAYLOAD))

.PHONY: backfill
backfill: ## Publishes past periods again [STACK= REGION= FROM=<RFC 3339> TO=<RFC 3339>]
	@: $(call needs,STACK REGION FROM TO)
	@$(call run-by-hand,{"start":"$(FROM)"$(comma)"end":"$(TO)"})

comma := ,
# Prints the function's reply, and fails when the function does. Both versions of the CLI take fileb.
run-by-hand = folder=$$(mktemp -d); trap 'rm -r "$$folder"' EXIT; \
	printf '%s' '$(1)' > "$$folder/event.json"; \
	failed=$$(aws lambda invoke --region "$(REGION)" --function-name "$(STACK)-dcgm-to-cloudwatch" \
		--cli-read-timeout 910 --payload "fileb://$$folder/event.json" \
		--query FunctionError --output text "$$folder/reply.json"); \
	cat "$$folder/reply.json"; echo; \
	[[ $$failed == None ]]

.PHONY: dashboard
dashboard: ## Adds the GPU widgets to a CloudWatch dashboard of yours [STACK= REGION= NAME=]
	@: $(call needs,STACK REGION NAME)
	AWS_DEFAULT_REGION="$(REGION)" python3 infra/dashboard.py --stack "$(STACK)" --name "$(NAME)"

.PHONY: logs
logs: ## Shows what both functions logged in the last 15 minutes [STACK= REGION=]
	@: $(call needs,STACK REGION)
	@for function in $(FUNCTIONS); do \
		echo "== $(STACK)-$$function"; \
		aws logs filter-log-events --region "$(REGION)" --log-group-name "/aws/lambda/$(STACK)-$$function" \
			--start-time "$$(date -d '-15 min' +%s000)" --query 'events[].[message]' --output text; \
	done

.PHONY: destroy
destroy: ## Deletes the stack; says what is kept, and how to delete that [STACK= REGION=]
	@: $(call needs,STACK REGION)
	@$(stack) delete --stack "$(STACK)"
