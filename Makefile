# Each target installs what it needs (Debian packages, when run as root) and works on a fresh Debian 12 with cargo.
SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fairlead
DENY_VERSION := 0.20.2
DENY := $(CACHE)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
IMAGE ?= fairlead:dev
BASE ?= debian:bookworm-slim

.PHONY: help demo test lint unit sanity bench image release setup setup-go

help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

setup:
	@tests/setup.sh

setup-go:
	@tests/setup.sh go

release: setup
	$(CARGO) build --locked --release

demo: release ## Shows a volume's life on this machine, step by step (root)
	$(TARGET)/release/fairlead demo

test: lint unit sanity ## Runs everything: lint, all tests, csi-sanity (root)

lint: setup $(DENY) ## Formatting, lints, licences and bans
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings
	$(DENY) --locked check --hide-inclusion-graph bans licenses sources

$(DENY):
	$(CARGO) install --locked --root $(dir $(patsubst %/,%,$(dir $@))) --version $(DENY_VERSION) cargo-deny

unit: setup ## All of the project's own tests, on real loop devices and mounts
	tests/leaks.sh $(CARGO) test --locked --all-features

sanity: setup-go release ## csi-sanity for mount and block volumes
	tests/leaks.sh csi-sanity/run.sh $(TARGET)/release/fairlead

bench: release ## Measures size, start, memory, calls, throughput; prints a table and writes bench-results.json
	tests/leaks.sh $(CARGO) bench --locked --bench driver

image: release ## Builds the container image with docker or buildah: make image BASE=... IMAGE=...
	@tool=$$(command -v docker || command -v buildah) || { echo "docker or buildah is needed to build an image" >&2; exit 1; }; \
	"$$tool" build --build-arg BASE="$(BASE)" --build-arg VERSION="$$($(TARGET)/release/fairlead version | head -n 1 | cut -d" " -f2)" --tag "$(IMAGE)" .
