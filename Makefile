# Easel's build. `make help` says what there is; README.md and CONTRIBUTING.md say when to use it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# sudo resets PATH, so look for Go and Node where they are usually put, the calling user's own included.
caller_home := $(if $(SUDO_USER),$(shell getent passwd $(SUDO_USER) | cut -d: -f6),$(HOME))
export PATH := $(PATH):/usr/local/go/bin:/usr/lib/go/bin:$(caller_home)/go/bin:$(caller_home)/sdk/go/bin:/usr/local/node/bin:$(lastword $(wildcard $(caller_home)/.nvm/versions/node/*/bin))

export EASEL_CACHE ?= /var/cache/easel
export EASEL_BIN := $(CURDIR)/bin
TOOLS := $(CURDIR)/bin/tools
VERSION ?= $(shell git -c safe.directory='*' describe --tags --match 'v*' --dirty 2>/dev/null || echo 0.1.0-dev)
export VERSION
export GOFLAGS += -buildvcs=false
# go-nvml wraps functions that its own header deprecates.
export CGO_CFLAGS ?= -O2 -g -Wno-deprecated-declarations

# The parts that this checkout has; node's and browser's pages have a package.json.
web_pages := $(patsubst %/package.json,%,$(wildcard pkg/viewer/package.json coordinator/portal/package.json coordinator/portal/web/package.json))
go_dirs := coordinator images integration noded packaging pkg

.PHONY: help run stop clean build web containerd image test unit lint lint-go lint-web web-test fuzz integration cluster chaos bench bench-links bench-sim test-gpu packages generate deps deps-test tools need-go need-node need-root

help: ## Says what each target does.
	@echo "Easel: GIMP in the browser. Targets:"
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'
	@echo
	@echo "Long steps are cached in EASEL_CACHE ($(EASEL_CACHE)). First use: sudo make run"

run: need-root build containerd ## Builds everything, starts Easel on this machine and prints its URL; Ctrl-C ends it. Needs root.
	@exec $(EASEL_BIN)/easel-dev run $(RUN_FLAGS)

stop: need-root need-go ## Stops what `make run` started, wherever it was started from, and says what it removed. Needs root.
	@go build -o bin/easel-dev ./integration/cmd/easel-dev && $(EASEL_BIN)/easel-dev stop

clean: need-root need-go ## Stops, then removes builds, cache and development state, and says so; homes with drawings stay unless HOMES=1. Needs root.
	@go build -o bin/easel-dev ./integration/cmd/easel-dev && $(EASEL_BIN)/easel-dev clean $(if $(HOMES),--homes) --checkout $(CURDIR)

build: deps need-go need-node web ## Builds every binary into bin/.
	@echo "Building the binaries…"
	@mkdir -p bin
	@go build -trimpath -ldflags '-X main.version=$(VERSION) -extldflags=-Wl,-z,lazy' -o bin/ ./noded/cmd/noded ./noded/cmd/streamer
	@CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./coordinator/cmd/coordinator ./noded/cmd/sessionlog ./integration/cmd/easel-dev
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -buildid=' -o bin/easel-init ./images/gimp/init

web: need-node ## Builds the browser pages that the binaries carry, where their sources changed.
	@for page in $(web_pages); do packaging/build-web.sh $$page; done

containerd: deps need-go ## Builds the pinned containerd, its shim and runc into the cache, once.
	@packaging/containerd/build.sh >/dev/null

image: need-root build ## Builds the GIMP session image into the cache, without starting anything. Needs root.
	@$(EASEL_BIN)/noded image build

test: need-root ## Runs every test, installing what it needs: lint, unit with -race, web, fuzz, integration, cluster. Needs root.
	@packaging/test.sh all

unit: need-go deps-test web tools ## Runs the unit tests with the race detector.
	@packaging/test.sh unit

web-test: need-node deps-test ## Runs the browser pages' tests.
	@packaging/test.sh web

fuzz: need-go deps-test ## Runs every fuzz target for FUZZTIME (5s).
	@packaging/test.sh fuzz

integration: need-root need-go deps-test build containerd tools ## Runs the tests against real containerd, GIMP and browsers. Needs root.
	@packaging/test.sh integration

cluster: need-root need-go deps-test build containerd tools ## Breaks a cluster of three nodes and three coordinators, and checks what must hold. Needs root.
	@packaging/test.sh cluster

chaos: need-root need-go deps-test build containerd ## Breaks that cluster at random for CHAOS_TIME (10m); CHAOS_SEED repeats a run. Needs root.
	@CHAOS_TIME=$${CHAOS_TIME:-10m} go test -count=1 -v -timeout 0 -run '^TestRandomFaults$$' ./integration/cluster

lint: need-go need-node tools ## Checks format and correctness of Go, TypeScript and shell.
	@packaging/test.sh lint

lint-go: need-go tools
	@bad=$$($(TOOLS)/gofumpt -l $(wildcard $(go_dirs))); if [[ $$bad ]]; then echo "not formatted as gofumpt does (run: bin/tools/gofumpt -w FILE):"; echo "$$bad"; exit 1; fi
	@go vet ./...
	@$(TOOLS)/staticcheck ./...
	@git -c safe.directory='*' ls-files '*.sh' .ci/run | xargs -n1 bash -n

lint-web: need-node
	@for page in $(web_pages); do packaging/build-web.sh --deps $$page; (cd $$page && npm run --silent check); done

bench: need-root deps-test build containerd tools ## Measures Easel beside TigerVNC + noVNC, and runs the Go benchmarks. Needs root.
	@packaging/bench.sh

bench-links: need-root deps-test build containerd ## Measures the picture over emulated links; LINKBENCH_FLAGS=--help lists the flags. Needs root.
	@go build -o bin/linkbench ./integration/linkbench
	@mkdir -p out/bench
	@bin/linkbench $(LINKBENCH_FLAGS) | tee out/bench/links.txt

bench-sim: need-go ## Simulates a cluster of SIM_NODES (5000) nodes and SIM_SESSIONS (20000) sessions in virtual time; see CONTRIBUTING.md for what it takes.
	@mkdir -p out/bench
	@go test -count 1 -v -timeout 12h -run '^TestCluster$$' ./integration/sim -nodes $(or $(SIM_NODES),5000) -sessions $(or $(SIM_SESSIONS),20000) | tee out/bench/sim-$(or $(SIM_NODES),5000).txt

test-gpu: need-root need-go deps ## Tries this machine's NVIDIA cards and changes nothing on them; "Error 77" where there is none. Needs root.
	@mkdir -p bin out
	@cc -O2 -Wall -Wextra -Werror -o bin/gpu-compute integration/gpucard/compute/compute.c -ldl
	@go build -ldflags '-extldflags=-Wl,-z,lazy' -o bin/test-gpu ./integration/cmd/test-gpu
	@bin/test-gpu $(GPU_FLAGS) | tee out/test-gpu.txt

packages: deps need-go build containerd tools ## Builds easel-node and easel-coordinator as .deb into out/.
	@packaging/packages.sh

generate: need-go ## Generates the Connect code from pkg/api's .proto (needs protobuf-compiler).
	@packaging/generate.sh

deps:
	@packaging/install-deps.sh build run

deps-test:
	@packaging/install-deps.sh build run test

tools: need-go
	@stamp=$(TOOLS)/.$$(cat packaging/tools/go.mod packaging/tools/go.sum <(go env GOVERSION) | sha256sum | cut -c1-16); \
	if [[ ! -e $$stamp ]]; then echo "Building the pinned linters and packagers…"; rm -rf $(TOOLS); mkdir -p $(TOOLS); (cd packaging/tools && GOBIN=$(TOOLS) go install tool); touch $$stamp; fi

need-go:
	@command -v go >/dev/null || { echo "easel: Go is not on this machine's PATH nor in /usr/local/go; install Go 1.26 or newer from https://go.dev/dl and run the same command again." >&2; exit 1; }

need-node:
	@command -v node >/dev/null && command -v npm >/dev/null || { echo "easel: Node.js with npm is not on this machine's PATH; install Node.js 20 or newer and run the same command again." >&2; exit 1; }

need-root:
	@[[ $$(id -u) -eq 0 ]] || { echo "easel: this starts containers and mounts volumes, so it needs root; run: sudo make $(MAKECMDGOALS)" >&2; exit 1; }

.PHONY: print-web-pages
print-web-pages:
	@echo $(web_pages)
