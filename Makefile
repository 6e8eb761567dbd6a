# Every way to use the project, by name. `make help` prints the comments behind the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# A full disk leaves half a program, which the next try must not take for whole.
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
# The Python tools, zig among them, come before whatever the machine has. Rust is found before a new shell is opened,
# too: rustup puts it on PATH for the next one.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH):$(HOME)/.cargo/bin
# What cargo builds is taken from there, wherever else the person's own cargo builds.
export CARGO_TARGET_DIR := $(CURDIR)/target
FUNCTIONS := dcgm-to-cloudwatch grafana-datasource-setup
HOST_ARCH := $(shell uname -m | sed s/aarch64/arm64/)
# What is deployed is for Graviton unless asked otherwise; what tests and demo run is for here.
DEPLOY_ARCH := $(or $(ARCH),arm64)
ARCH ?= $(HOST_ARCH)

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- What is needed

.PHONY: tools
tools: versions test-packages deploy-tools $(VENV)/bin/prometheus ## Installs all that tests need: that of deploy-tools, Debian packages, Prometheus, Alertmanager [APT=no]

.PHONY: deploy-tools
deploy-tools: versions deploy-packages $(VENV)/.complete ## Installs what a deployment needs into .venv: AWS CLI, cargo-lambda, pcluster [APT=no]

.PHONY: demo-tools
demo-tools: versions demo-packages $(VENV)/.demo $(VENV)/bin/prometheus

$(VENV)/.demo: requirements.txt | deploy-packages
	@echo "Installing AWS CLI and MiniStack into $(VENV): half a minute"
	@python3 -m venv $(VENV)
	@$(call install,requirements.txt)

$(VENV)/.complete: requirements-dev.txt $(VENV)/.demo
	@echo "Installing cargo-lambda, pcluster and linters into $(VENV): a minute or two"
	@$(call install,requirements-dev.txt)

install = $(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $(1) && touch $@ || \
	{ echo "pip cannot install $(1). Without a network, or HTTPS_PROXY where one is needed, it finds no version" >&2; exit 1; }

PROMETHEUS_INSTALL := tests/testkit/src/real/prometheus/install.sh
$(VENV)/bin/prometheus: $(PROMETHEUS_INSTALL) | $(VENV)/.demo
	@echo "Getting Prometheus and Alertmanager into $(VENV): some seconds"
	@$(PROMETHEUS_INSTALL) $(@D)
	@touch $@

# Before anything is installed. Not of the packages' targets: sudo finds no Rust of one's own.
.PHONY: versions
versions:
	@$(apt); $(versions); if [ "$$unmet" = 1 ]; then $(deploy-needs); install_missing; fi

# Only these install anything system-wide.
.PHONY: deploy-packages
deploy-packages:
	@$(apt); $(deploy-needs); install_missing

.PHONY: demo-packages
demo-packages:
	@$(apt); $(demo-needs); install_missing

.PHONY: test-packages
test-packages:
	@$(apt); $(demo-needs); $(test-needs); install_missing

.PHONY: arm64-packages
arm64-packages:
	@$(apt); $(demo-needs); $(arm64-needs); install_missing

.PHONY: pictures-packages
pictures-packages:
	@$(apt); $(pictures-needs); install_missing

# need WHY "PACKAGES" TEST…: the test succeeds where the packages are not missing.
deploy-needs = \
	need "links what cargo builds" "gcc libc6-dev" type cc; \
	need "makes $(VENV)" "python3 python3-venv" python3 -c "import ensurepip"
demo-needs = $(deploy-needs); \
	need "checks who signed Prometheus" "debian-archive-keyring" test -r /usr/share/keyrings/debian-archive-keyring.gpg
test-needs = \
	need "checks the shell scripts" "shellcheck" type shellcheck; \
	need "checks the systemd units of the nodes" "systemd" type systemd-analyze; \
	need "tries the package sources of the nodes" "gpg gpg-agent dnf rpm createrepo-c" \
		type gpg gpg-agent dnf rpmbuild createrepo_c; \
	need "draws the dashboards" "chromium-headless-shell" \
		bash -c "type chromium-headless-shell || type chromium || type google-chrome"; \
	need "is the font of the dashboards" "fonts-inter fontconfig" bash -c "fc-list : family | grep -x Inter"
arm64-needs = need "runs what is built for arm64" "qemu-user libc6-arm64-cross" \
	bash -c "[[ $(HOST_ARCH) == arm64 ]] || { type qemu-aarch64 && test -e /usr/aarch64-linux-gnu/lib/libc.so.6; }"
pictures-needs = need "makes the pictures small" "pngquant" type pngquant

# must WHY WHAT HOW TEST…: what no package mends. rustup gets the version of rust-toolchain.toml by itself.
RUST_VERSION := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
versions = \
	here() { if type "$$1" >/dev/null 2>&1; then echo "$$("$$1" --version) in $$(type -p "$$1")"; else echo none; fi; }; \
	is_python() { python3 -c "import sys; sys.exit(sys.version_info < (3, 10))"; }; \
	has_room() { [ "$$(df --output=avail -k . | tail -1)" -gt "$$1"000000 ]; }; \
	is_rust() { type rustup || printf '%s\n' $(RUST_VERSION) "$$(cargo --version | cut -d ' ' -f 2)" | sort -VC; }; \
	must "builds both functions" "Rust $(RUST_VERSION)" \
		"install it from https://rustup.rs; here: $$(RUSTUP_AUTO_INSTALL=0 here cargo)" is_rust; \
	if type python3 >/dev/null 2>&1; then \
		must "runs the tools" "Python 3.10" "install it or a newer one, first on PATH; here: $$(here python3)" is_python; \
	fi; \
	if [ ! -d target ]; then \
		must "takes tools and what cargo builds" "4 GB of disk" "make room, or clone elsewhere" has_room 4; \
	fi

# A word that declines in another way must not install.
$(if $(filter-out no yes,$(APT)),$(error APT=$(APT): expected no, or nothing))

# Installs missing Debian packages and says why; with APT=no, or without root, says how to install them.
apt = missing="" unmet=0; \
	need() { \
		if ! "$${@:3}" >/dev/null 2>&1; then \
			missing+=" $$2"; echo "Missing on this system: $$2 ($$1)" >&2; \
		fi; \
	}; \
	must() { \
		if ! "$${@:4}" >/dev/null 2>&1; then \
			unmet=1; echo "Missing on this system: $$2 ($$1): $$3" >&2; \
		fi; \
	}; \
	install_missing() { \
		if [ -z "$$missing" ]; then return "$$unmet"; fi; \
		if [ "$(APT)" != no ] && [ "$$unmet" = 0 ] && [ "$$(id -u)" = 0 ] && type apt-get >/dev/null 2>&1; then \
			echo "Installing$$missing with apt-get, system-wide. To decline: make $(MAKECMDGOALS) APT=no" >&2; \
			apt-get update -qq; \
			DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing 2>&1 >/dev/null | \
				tail -n 3 >&2 || { echo "apt-get installs none of it: the network, or the package sources?" >&2; exit 1; }; \
		else \
			echo "Install them with: sudo apt-get update && sudo apt-get install$$missing" >&2; exit 1; \
		fi; \
	}

.PHONY: doctor
doctor: ## Says what is there, what is missing and how to get it; installs and changes nothing
	@bad=0; packages=""; \
	say() { printf '%-8s %s: %s\n' "$$@"; }; \
	check() { \
		if "$${@:4}" >/dev/null 2>&1; then say ok "$$1" "$$2"; else bad=1; say MISSING "$$1" "$$2: $$3"; return 1; fi; \
	}; \
	need() { check "$$2" "$$1" "a Debian package" "$${@:3}" || packages+=" $$2"; }; \
	must() { check "$$2" "$$1" "$${@:3}" || true; }; \
	echo "To try it and to deploy it:"; \
	$(demo-needs); $(versions); \
	if aws sts get-caller-identity >/dev/null 2>&1; then say ok credentials "deploy to an AWS account"; \
	else say none credentials "only a deployment to AWS needs them: $(VENV)/bin/aws configure, or a profile of yours in AWS_PROFILE"; fi; \
	echo "To test it, too:"; \
	$(test-needs); \
	must "takes tools and what cargo builds" "12 GB of disk" "make room, or clone elsewhere" has_room 12; \
	if [ -e $(VENV)/.complete ] && [ -x $(VENV)/bin/prometheus ] && [ -x $(VENV)/bin/alertmanager ]; then \
		say ok $(VENV) "AWS CLI, cargo-lambda, Prometheus, linters"; \
	else say later $(VENV) "AWS CLI, cargo-lambda, Prometheus, linters: installed by the target that needs them, or by make tools"; fi; \
	if [ -n "$$packages" ]; then echo; echo "Missing packages: sudo apt-get update && sudo apt-get install$$packages"; fi; \
	exit $$bad

# ---- Build

# Rust's library for the other architecture: cargo-lambda would get it for the toolchain `stable`, not for ours.
.PHONY: build
build: deploy-tools ## Builds both functions to target/lambda/<name>/bootstrap [ARCH=x86_64|arm64, the default is this machine's]
	@case "$(ARCH)" in \
		x86_64) flag=--x86-64 target=x86_64-unknown-linux-gnu ;; \
		arm64) flag=--arm64 target=aarch64-unknown-linux-gnu ;; \
		*) echo "ARCH=$(ARCH): expected x86_64 or arm64" >&2; exit 1 ;; \
	esac; \
	[ -n "$${RUSTC-}" ] || [ -d "$$(rustc --print sysroot)/lib/rustlib/$$target" ] || rustup target add "$$target"; \
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
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((4 * $$(nproc)))} cargo test --locked --workspace

# What users deploy unless they ask otherwise. An arm64 machine runs it as it is.
.PHONY: test-arm64
test-arm64: arm64-packages demo-tools deploy-tools ## Runs the functions' tests and the demo on what is built for arm64, by qemu elsewhere [APT=no]
	@tests/arm64/build.sh
	@cargo build --locked --package demo --bin demo
	@export BOOTSTRAP_DIR=$(CURDIR)/target/arm64/lambda; \
	tests/arm64/run.sh cargo test --locked --package suites -- dcgm_to_cloudwatch:: grafana_datasource_setup::; \
	tests/arm64/run.sh target/debug/demo

.PHONY: chaos
chaos: tools build-here ## Breaks every part, one after the other, and counts what is lost [CHAOS=--help]
	@cargo run --quiet --locked --package chaos -- $(CHAOS)

.PHONY: bench
bench: tools build-here ## Measures the function from 2 to 10,000 nodes, beside the daemon it replaces [BENCH=--help]
	@test -x target/bench-venv/bin/python || python3 -m venv target/bench-venv
	@target/bench-venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/bench/requirements.txt
	@cargo run --quiet --profile bench --locked --package bench -- \
		$(or $(BENCH),--python target/bench-venv/bin/python --write docs/performance.md --json target/bench.json)
	@$(if $(BENCH),,target/bench-venv/bin/python tests/bench/plot.py target/bench.json docs/performance.png)

# Three hours of a simulated cluster, minute by minute.
.PHONY: pictures
pictures: tools build-here pictures-packages ## Draws the dashboards to docs/img, as a person sees them [APT=no]
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
	shellcheck infra/parallelcluster/*.sh tests/arm64/*.sh $(PROMETHEUS_INSTALL) .ci/run
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

# An operator's machine may have an AWS CLI of its own, and need nothing else.
aws-cli = for tool in aws python3; do \
	command -v $$tool >/dev/null || { echo "$$tool is missing: \`make deploy-tools\` installs it" >&2; exit 1; }; done
# Version 1 of the CLI reads the second alone, version 2 the first before it.
in-region = AWS_REGION="$(REGION)" AWS_DEFAULT_REGION="$(REGION)"
stack = $(in-region) python3 infra/stack.py
pack = $(in-region) python3 infra/package.py --bucket "$(BUCKET)" $(if $(XID_OVERRIDES),--xid-overrides "$(XID_OVERRIDES)")

.PHONY: package
package: ## Builds, uploads and packages the stack to build/package [BUCKET= REGION= ARCH=arm64 XID_OVERRIDES=file]
	@: $(call needs,BUCKET REGION)
	@$(MAKE) deploy-tools
	@$(pack) --check
	@$(MAKE) build ARCH=$(DEPLOY_ARCH)
	@$(pack)

.PHONY: deploy
deploy: ## Deploys or updates the stack [STACK= CLUSTER= REGION= BUCKET= ARCH=arm64 PARAMETERS="Name=Value …"]
	@: $(call needs,STACK CLUSTER REGION BUCKET)
	@$(MAKE) deploy-tools
	@$(stack) updatable --stack "$(STACK)"
	@$(MAKE) package ARCH=$(DEPLOY_ARCH)
	@echo "Deploying $(STACK): 5 to 15 minutes for a new stack, nearly all of it Grafana's workspace"
	aws cloudformation deploy --region "$(REGION)" --stack-name "$(STACK)" \
		--template-file build/package/parallelcluster-infrastructure.yaml \
		--capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset \
		--parameter-overrides ClusterName="$(CLUSTER)" Architecture=$(DEPLOY_ARCH) $(PARAMETERS) || \
		{ $(stack) failures --stack "$(STACK)"; exit 1; }

.PHONY: failures
failures: ## Says why the stack's last operation failed [STACK= REGION=]
	@: $(call needs,STACK REGION)
	@$(aws-cli)
	@$(stack) failures --stack "$(STACK)"

.PHONY: invoke
invoke: ## Runs dcgm-to-cloudwatch by hand [STACK= REGION= PAYLOAD='{"dryRun":true}']
	@: $(call needs,STACK REGION)
	@$(aws-cli)
	@$(call run-by-hand,$(PAYLOAD))

.PHONY: backfill
backfill: ## Publishes past periods again [STACK= REGION= FROM=<RFC 3339> TO=<RFC 3339>]
	@: $(call needs,STACK REGION FROM TO)
	@$(aws-cli)
	@$(call run-by-hand,{"start":"$(FROM)"$(comma)"end":"$(TO)"})

comma := ,
# Prints the function's reply, and fails when the function does. Both versions of the CLI take fileb.
run-by-hand = folder=$$(mktemp -d); trap 'rm -r "$$folder"' EXIT; \
	printf '%s' '$(subst ','\'',$(1))' > "$$folder/event.json"; \
	failed=$$(aws lambda invoke --region "$(REGION)" --function-name "$(STACK)-dcgm-to-cloudwatch" \
		--cli-read-timeout 910 --payload "fileb://$$folder/event.json" \
		--query FunctionError --output text "$$folder/reply.json") || \
		{ $(stack) there --stack "$(STACK)"; exit 1; }; \
	cat "$$folder/reply.json"; echo; \
	[[ $$failed == None ]]

.PHONY: dashboard
dashboard: ## Adds the GPU widgets to a CloudWatch dashboard of yours [STACK= REGION= NAME=]
	@: $(call needs,STACK REGION NAME)
	@$(aws-cli)
	@$(in-region) python3 infra/dashboard.py --stack "$(STACK)" --name "$(NAME)"

.PHONY: logs
logs: ## Shows what both functions logged in the last 15 minutes [STACK= REGION=]
	@: $(call needs,STACK REGION)
	@$(aws-cli)
	@failed=0; for function in $(FUNCTIONS); do \
		echo "== $(STACK)-$$function"; \
		aws logs filter-log-events --region "$(REGION)" --log-group-name "/aws/lambda/$(STACK)-$$function" \
			--start-time "$$(date -d '-15 min' +%s000)" --query 'events[].[message]' --output text || failed=1; \
	done; \
	[ $$failed = 0 ] || { $(stack) there --stack "$(STACK)"; exit 1; }

.PHONY: destroy
destroy: ## Deletes the stack; says what is kept, and how to delete that [STACK= REGION=]
	@: $(call needs,STACK REGION)
	@$(aws-cli)
	@$(stack) delete --stack "$(STACK)"
