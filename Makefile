# Two commands for everybody: `make demo` and `make test`. Each installs what it lacks (Debian 12).
# The rest is for developers; see docs/development.md.

.DEFAULT_GOAL := help
.PHONY: help demo test build dev portable asan lint format check-format fuzz bench check-clients check-page check-fuzz
.PHONY: check-due check-bare clean docs

help: ## Lists these targets
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

##@ For everybody
demo: ## Runs a real model with part of its weights in another tier (first run: minutes)
	@scripts/install_packages build
	@scripts/build_dak
	@model=$$(scripts/fetch_model) && scripts/demo build/release/src/cli/dak "$$model"

test: ## All that CI checks: build, tests, sanitizers, lint, fuzzing, benchmark (20 minutes at first)
	@scripts/test

##@ Builds
build: ## Optimised build of everything, in build/release
	@scripts/test packages model venv templates build

dev: ## The same in build/dev, a file for each source: slower at first, quicker after a change
	@scripts/test packages model venv templates dev_build

docs: ## Makes the generated pages anew: docs/reference (of build/release), measurements, paper, plots
	@scripts/reference build/release/src/cli/dak
	@scripts/measurements
	@scripts/plot_bench.py
	@scripts/paper_figures
	@build/release/src/cli/dak plan configs/llama-3.1-8b --hardware h100 --compare uniform,greedy \
	  --workload 'decode:batch=8,context=1k*0.3 + prefill:1k*0.7' --svg docs/plots/plan_llama-3.1-8b.svg >/dev/null

portable: ## One binary that needs nothing but glibc: build/portable/src/cli/dak
	@scripts/install_packages build
	@scripts/build_portable

clean: ## Removes build/ (the fetched model stays in its cache)
	rm -rf build

##@ Parts of `make test`, alone
asan: ## Builds and runs the tests with AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/test packages model venv templates asan_build_all asan_test

lint: ## clang-tidy over what changed since it last passed
	@scripts/test packages model venv templates dev_build lint_all

format: ## Formats the sources
	@scripts/install_packages test
	@scripts/format

check-format: ## Fails when a source is not formatted
	@scripts/install_packages test
	@scripts/format --check

fuzz: ## Runs each fuzz target for FUZZ_SECONDS (default 60)
	@scripts/install_packages build test
	@scripts/fuzz $(or $(FUZZ_SECONDS),60)

bench: build ## CPU speed against what this machine can do
	@scripts/bench

##@ Checks outside `make test`: when their folders changed and before a release; each leaves a dated JSON
check-due: ## Which of them are due, and why
	@scripts/check due

check-clients: ## Other people's clients and load generators against `dak serve` (tests/clients)
	@scripts/check run clients

check-page: ## The server's page in a headless Chromium (tests/page)
	@scripts/check run page

check-fuzz: ## Each fuzz target for FUZZ_MINUTES (default 5; before a release 30)
	@scripts/check run fuzz

check-bare: ## `make demo` and `make test` in a fresh minimal Debian 12 (root; about 30 minutes; leaves no JSON)
	@scripts/check_bare
