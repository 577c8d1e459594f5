# SPDX-License-Identifier: Apache-2.0
#
# Everything one does with this repository. A target is one line; what takes
# more is a program that can be run and tested by itself.

SHELL := /bin/bash

# Programs that the lab and the tests call, by the names of their packages.
DEBIAN := busybox-static ca-certificates conntrack curl diffutils etcd-server findutils iproute2 iptables mount nftables procps runc shellcheck socat util-linux

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X github.com/magpie-edge/magpie/internal/version.set=$(VERSION) -X main.version=$(VERSION)

# What is not a unit test, by folder; internal/arch compares with what the
# tests do. NS makes network namespaces of its own (one package at a time: some
# wait for real clocks), API runs an etcd and a kube-apiserver of its own, E2E
# runs on a lab. Their results depend on more than files, so none is cached.
NS  := kernel cni nodepool/join tunnel/wire test/fastpath cmd/magpiectl/probe test/interop test/walks test/fence test/lab/machine test/lab/world test/bench
API := cluster cmd/magpie-manager test/chart test/hub test/join test/tunnel
E2E := test/e2e test/lab

# What runs once more in a machine whose kernel has WireGuard, see test/vm: not
# what must be done within a second (test/fence), nor what builds programs (cni).
VM  := kernel tunnel/wire test/interop test/walks test/fastpath

# $(call within,FOLDERS) is every package in or below one of them.
ALL    = $(shell go list ./...)
MODULE = github.com/magpie-edge/magpie
within = $(filter $(foreach d,$(1),$(MODULE)/$(d) $(MODULE)/$(d)/%),$(ALL))

TALLY := go run ./test/tally
LINT  := go tool -modfile=tools/go.mod golangci-lint
HELM   = $(lastword $(sort $(wildcard $(or $(MAGPIE_CACHE),$(HOME)/.cache/magpie)/bin/helm-v*)))

export CGO_ENABLED := 0

.NOTPARALLEL:

.PHONY: help deps build lab lab-down test unit lint ns api e2e vm flannel bench fuzz generate image chart vuln clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install missing Debian packages and Go modules
	@tools/deps.sh $(DEBIAN)

build: ## build every command into bin/
	@mkdir -p bin && go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

lab: deps build ## a real cluster in four network domains on this machine
	@bin/magpie-lab up --check

lab-down: build ## stop the lab and remove everything but its cache
	@bin/magpie-lab down

test: export MAGPIE_TEST_STRICT = 1
test: deps tally-begin lint unit ns api e2e ## all of the tests, with a summary as the last line
	@$(TALLY) -end

unit: ## tests that need nothing: goldens, laws, virtual time
	@$(TALLY) unit $(filter-out $(call within,$(NS) $(API) $(E2E)),$(ALL))

lint: ## golangci-lint with the settings of .golangci.yml, and shellcheck
	@$(LINT) run ./... && git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck

ns: ## tests in network namespaces of their own; no root needed, but for the fast path
	@$(TALLY) ns -p 1 -count 1 $(call within,$(NS))

api: deps build ## tests against a real etcd and kube-apiserver
	@bin/magpie-lab build --oldest && $(TALLY) api -p 1 -count 1 $(call within,$(API))

e2e: kubernetes ## tests on the lab; starts it, and stops it again, if it is not up
	@$(TALLY) e2e -p 1 -count 1 -timeout 45m $(filter-out $(call within,$(NS)),$(call within,$(E2E)))

vm: export MAGPIE_TEST_STRICT = 1
vm: deps build ## namespace tests on a kernel with WireGuard, in an emulated machine (a few minutes)
	@tools/deps.sh qemu-system-x86 dpkg && go build -o bin/vm ./test/vm && $(TALLY) vm -p 1 -count 1 -tags vm -exec $(CURDIR)/bin/vm $(call within,$(VM))

flannel: export MAGPIE_TEST_STRICT = 1
flannel: deps build ## our nodes beside the real flanneld, in namespaces with a real API server
	@bin/magpie-lab build --peers && $(TALLY) flannel -p 1 -count 1 -tags flannel -run Flanneld $(MODULE)/test/interop

bench: deps build ## measure against Flannel's layout, bare WireGuard and a kube-proxy without a hub, as ratios; and, on the lab, the first packet of a new node and kubectl exec
	@go run ./test/bench; missed=$$?; go test -tags bench -count 1 -v -run '^(TestNodeCreatedToFirstPacket|TestExecBesideACloudNode)$$' ./test/e2e | grep -E 'first packet|ratio|FAIL' && exit $$missed

fuzz: ## every fuzz target for FUZZTIME (default 20s) each
	@grep -rHoE --include='*_test.go' '^func Fuzz\w+' . | sed -E 's|^(.*)/[^/]+:func (.*)|\1 \2|' | while read -r dir f; do go test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-20s} "$$dir" || exit 1; done

generate: ## rewrite deepcopy code, CRDs, the schema of the values and reference pages
	@go generate ./... && go test ./internal/arch -run Reference -update

image: ## build the release image (needs docker)
	@docker build -f image/Dockerfile --build-arg VERSION=$(VERSION) -t ghcr.io/magpie-edge/magpie:$(VERSION) .

chart: kubernetes ## check the Helm chart and package it into dist/
	@mkdir -p dist && $(HELM) lint charts/magpie && $(HELM) package charts/magpie -d dist

vuln: ## look for known vulnerabilities (needs the database at vuln.go.dev)
	@go tool -modfile=tools/go.mod govulncheck ./...

clean: ## remove what build, test and bench left in this folder
	@rm -rf bin dist .cache

.PHONY: kubernetes tally-begin
kubernetes: deps build
	@bin/magpie-lab build

tally-begin:
	@$(TALLY) -begin
