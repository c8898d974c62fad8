# Each target installs what it needs (Debian packages, when run as root) and works on a fresh Debian 12 with cargo.
SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fairlead
DENY_VERSION := 0.20.2
DENY := $(CACHE)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
IMAGE ?= fairlead:dev
BASE ?= debian:bookworm-slim
# What csi-sanity runs on without a real cloud.
SANITY ?= file openstack rackspace cyclades storpool
# Of the last commit: with it, and with the same base and packages, the same sources give the same image. For the image
# alone: crates with C in them are compiled anew when the time changes, and so is all that depends on them.
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

.PHONY: help demo test lint unit sanity chart chart-tools manifests bench bench-cinder bench-cluster bench-storpool image \
  release cluster-build cluster-up cluster-down e2e kind-e2e e2e-full openstack-up openstack-down test-openstack \
  test-storpool test-vm setup-build setup-test setup-go setup-vm

help: ## Lists the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 15

setup-build setup-test setup-go setup-vm: setup-%:
	@tests/setup.sh $*

# The binary names no directory of the machine that built it.
release bench bench-storpool: export RUSTFLAGS := $(RUSTFLAGS) --remap-path-prefix=$(CURDIR)=/fairlead --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo
release: setup-build
	$(CARGO) build --locked --release

demo: setup-test release ## Shows a volume's life on this machine, step by step (root)
	$(TARGET)/release/fairlead demo

# The chart is checked among the unit tests, where its tools are there.
test: lint chart-tools unit sanity ## Runs everything: lint, all tests, the chart's checks, csi-sanity (root)

lint: setup-build $(DENY) ## Formatting, lints, licences and bans
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	# A target with `test = false` is not one of all targets.
	$(CARGO) clippy --locked --all-features --test e2e --test openstack --test differential --test vm -- -D warnings
	$(DENY) --locked check --hide-inclusion-graph bans licenses sources

$(DENY):
	$(CARGO) install --locked --root $(dir $(patsubst %/,%,$(dir $@))) --version $(DENY_VERSION) cargo-deny

unit: setup-test ## All of the project's own tests, on real loop devices and mounts
	tests/leaks.sh tests/secrets.sh $(CARGO) test --locked --workspace --all-features

test-vm: setup-vm ## Tests the node in a virtual machine: disks that come late, grow, go and come back
	tests/leaks.sh $(CARGO) test --locked --test vm

chart-tools: setup-go
	@tests/chart/tools.sh >/dev/null

chart: chart-tools ## Checks the Helm chart without a cluster: Helm 3 and 4, refusals, Kubernetes' own schemas
	$(CARGO) test --locked --all-features --test chart

manifests: chart-tools ## Writes manifests/, the chart's README and the recorded templates anew
	UPDATE=1 $(CARGO) test --locked --all-features --test chart

# With the tests' own builds: a release takes minutes, and `make e2e` tests that one.
sanity: setup-go ## csi-sanity for mount and block volumes, on files and on simulated clouds (root)
	$(CARGO) test --locked --workspace --all-features --test process --test dialects --test vendor --no-run
	FAIRLEAD_CLOUDSIM=$(TARGET)/debug/cloudsim FAIRLEAD_STORPOOLSIM=$(TARGET)/debug/storpoolsim \
	  tests/leaks.sh tests/secrets.sh csi-sanity/run.sh $(TARGET)/debug/fairlead $(SANITY)

test-storpool: setup-test ## The tests on a simulated StorPool: the vendor's client, the contract, faults, csi-sanity (root)
	tests/leaks.sh $(CARGO) test --locked --package storpoolsim
	tests/leaks.sh $(CARGO) test --locked --workspace --all-features --lib storpool
	tests/leaks.sh $(CARGO) test --locked --workspace --all-features --test contract storpool
	tests/leaks.sh tests/secrets.sh $(CARGO) test --locked --workspace --all-features --test storpool_faults
	$(MAKE) sanity SANITY=storpool

bench: setup-test release ## Measures size, start, memory, calls, throughput; prints a table and writes bench-results.json
	tests/leaks.sh $(CARGO) bench --locked --bench driver

# What is measured is the cloud's time and the requests to it, so it is built like the tests.
bench-cinder: openstack-up ## Counts requests and lost time on a simulated and on the real OpenStack, writes bench-cinder-results.json
	$(CARGO) bench --locked --all-features --profile dev --bench cinder --no-run
	FAIRLEAD_OPENSTACK_SERVERS="$$(tests/openstack/servers.sh 2)" $(CARGO) bench --locked --all-features --profile dev --bench cinder

bench-storpool: setup-build ## Counts requests and time of attaches on a simulated StorPool, writes bench-storpool-results.json
	$(CARGO) bench --locked --bench storpool

# What is measured is not this program, so it is built like the tests.
bench-cluster: cluster-build ## Measures order to running pod on the test cluster (FAIRLEAD_BENCH_CLASS=...), writes bench-cluster-results.json
	$(CARGO) bench --locked --all-features --profile dev --bench cluster --no-run
	tests/cluster/with.sh $(CARGO) bench --locked --all-features --profile dev --bench cluster

# The build's context is a directory with the binary alone, wherever cargo keeps its target directory.
# Buildah's chroot isolation needs neither a container runtime nor a network of its own; its layers are kept, so the
# tools are not fetched again (BUILD_FLAGS=--no-cache does).
image: release ## Builds the container image with docker or buildah: make image BASE=... IMAGE=... BUILD_FLAGS=...
	@set -euo pipefail; \
	export SOURCE_DATE_EPOCH="$(SOURCE_DATE_EPOCH)"; \
	if docker info >/dev/null 2>&1; then \
	  build=(docker build --build-arg SOURCE_DATE_EPOCH); \
	else \
	  if ! command -v buildah >/dev/null; then \
	    if [[ $$EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then \
	      echo "neither docker with a running engine nor buildah is here; start the engine, or as root: apt-get install --no-install-recommends buildah" >&2; \
	      exit 1; \
	    fi; \
	    echo "installing buildah"; \
	    apt-get update -qq; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends buildah >/dev/null; \
	  fi; \
	  build=(buildah build --layers --timestamp "$(SOURCE_DATE_EPOCH)" --isolation "$${BUILDAH_ISOLATION:-chroot}"); \
	fi; \
	context=$$(mktemp -d); trap 'rm -rf "$$context"' EXIT; \
	install -D -m 0755 "$(TARGET)/release/fairlead" "$$context/target/release/fairlead"; \
	install -D -m 0755 -t "$$context/image" image/*.sh; \
	$(CARGO) tree --locked --edges normal --prefix none --format 'cargo {p}' | awk '{ print $$1, $$2, substr($$3, 2) }' | sort -u > "$$context/crates"; \
	version=$$("$(TARGET)/release/fairlead" version | awk 'NR == 1 { print $$2 }'); \
	"$${build[@]}" $(BUILD_FLAGS) --build-arg BASE="$(BASE)" --build-arg VERSION="$$version" --build-arg REVISION="$(REVISION)" \
	  --file Dockerfile --tag "$(IMAGE)" "$$context"; \
	echo "built $(IMAGE) with $${build[0]}"

cluster-build: ## Builds a Kubernetes, its sidecars and tools for tests, from pinned Go modules
	@tests/cluster/able.sh
	tests/cluster/build.sh

cluster-up: cluster-build ## Starts a real Kubernetes of NODES=2 nodes here, with sidecars and the driver's image (root)
	tests/cluster/up.sh
	tests/cluster/sidecars.sh
	tests/cluster/driver-image.sh

cluster-down: ## Stops it; nothing is left running, mounted or attached (root)
	tests/cluster/down.sh

# A cluster of one's own: KUBECONFIG=... FAIRLEAD_E2E_IMAGE=... cargo test --test e2e
e2e: cluster-build ## Installs the chart in a real Kubernetes here and tests it from claim to pod (root)
	tests/e2e/run.sh

kind-e2e: cluster-build ## The same in kind (docker), as far as it needs no broken nodes (root); KEEP=1 leaves it up
	tests/cluster/kind/e2e.sh

e2e-full: cluster-build ## The same with the slow tests, and then Kubernetes' own storage tests (hours; root)
	tests/e2e/run.sh --full

openstack-up: ## Starts a real OpenStack (Keystone, Cinder, Nova, Glance, Placement) here, and checks it (root)
	tests/openstack/up.sh
	tests/openstack/smoke.sh

# Six servers: two tests at once, of which each wants three at most.
test-openstack: setup-go openstack-up ## The tests that need a real OpenStack, and csi-sanity on it (root)
	servers=$$(tests/openstack/servers.sh 6 | paste -sd,) && export FAIRLEAD_OPENSTACK_SERVER=$$servers && \
	  tests/secrets.sh $(CARGO) test --locked --all-features --test openstack --test differential && \
	  FAIRLEAD_OPENSTACK_FAULTS=1 tests/secrets.sh $(CARGO) test --locked --all-features --test openstack -- --test-threads 1 a_volume_that_ && \
	  tests/leaks.sh tests/secrets.sh csi-sanity/run.sh $(TARGET)/debug/fairlead cinder

openstack-down: ## Stops it; nothing is left running or attached (root)
	tests/openstack/down.sh
