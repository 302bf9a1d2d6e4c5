# Cordum developer commands. `make demo` and `make test` do their own set-up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
export CARGO_TERM_COLOR ?= never

.DEFAULT_GOAL := help
.PHONY: help setup deps build proto demo up sign-default-policy test test-rust test-python mutants lint bench quality bench-quality fuzz wheel ci clean check-tools

help:
	@echo "make demo   bring the system up on embedded servers and run the governed demo"
	@echo "make up     run the system until Ctrl-C"
	@echo "make test   all tests     make lint  all checks     make bench  report in report/"
	@echo "make quality  what the output detectors find and miss   make bench-quality  the same beside other scanners"
	@echo "make wheel  build dist/   make fuzz  ten minutes of generated input     make ci    what CI runs"

check-tools:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cordum needs Python >= 3.11 (found: $$($(PYTHON) -V 2>&1)); set PYTHON=..."; exit 1; }
	@command -v cargo >/dev/null || { echo "cordum needs Rust >= 1.85: install it with rustup"; exit 1; }

$(VENV)/.deps: pyproject.toml | check-tools
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -U pip "maturin>=1.9.4,<2"
	@$(BIN)/python tools/install_requirements.py
	@touch $@

deps:
	@tools/scripts/install_system_packages.sh

setup: $(VENV)/.deps build

RUST_SOURCES := $(shell find rust -name '*.rs' -o -name 'Cargo.toml' 2>/dev/null) Cargo.toml Cargo.lock
$(VENV)/.built: $(RUST_SOURCES) $(VENV)/.deps
	@VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release -q
	@touch $@

build: $(VENV)/.built

proto: $(VENV)/.deps
	@$(BIN)/python tools/generate_protos.py

demo: setup
	@$(BIN)/python examples/demo.py

# After every change of config/safety.yaml.
sign-default-policy: setup
	@cp config/safety.yaml python/cordum/embedded/defaults/safety.yaml
	@$(BIN)/python tools/sign_default_policy.py

up: setup
	@$(BIN)/cordumctl up

test-rust: check-tools
	cargo test --workspace --exclude cordum-python --quiet --no-fail-fast

# Wrong edits of scripts and steps: the simulation has to find them.
mutants: check-tools
	cargo test -p cordum-simulation --features mutants --test mutants --quiet -- --nocapture

test-python: setup
	$(BIN)/python -m pytest tests --ignore=tests/e2e --ignore=tests/faults -n 3 --dist loadfile
	$(BIN)/python -m pytest tests/e2e tests/faults -n 3 --dist loadfile

test: deps setup test-rust test-python

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff check python tests benches examples tools
	$(BIN)/ruff format --check python tests benches examples tools
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benches.report

# Recall, precision and false positives of the output detectors on generated samples and clean text.
quality: setup
	$(BIN)/python -m tests.quality.report

# The same beside other scanners (gitleaks is taken from PATH when it is there).
bench-quality: setup
	@$(BIN)/python -m pip install -q --disable-pip-version-check "detect-secrets>=1.5,<2" "presidio-analyzer>=2.2,<3"
	$(BIN)/python -m tests.quality.report --peers

# Parser, engine, analysis, replay, detectors and redaction on generated input, with fresh seeds until the time is over.
FUZZ_SECONDS ?= 600
fuzz: check-tools
	@cargo test --release --quiet -p cordum-policy -p cordum-output --no-run
	@end=$$(( $$(date +%s) + $(FUZZ_SECONDS) )); rounds=0; \
	while [ $$(date +%s) -lt $$end ]; do \
		PROPTEST_CASES=500 cargo test --release --quiet -p cordum-policy --test robust --test reference --test content_reference --test overlays --test replay >/dev/null || exit 1; \
		PROPTEST_CASES=500 cargo test --release --quiet -p cordum-output --test robust --test patterns >/dev/null || exit 1; \
		PROPTEST_CASES=100 cargo test --release --quiet -p cordum-policy --test analysis --test diff >/dev/null || exit 1; \
		rounds=$$((rounds + 1)); \
	done; echo "$$rounds rounds in $(FUZZ_SECONDS) s, nothing found"

wheel: $(VENV)/.deps
	@rm -rf dist && $(BIN)/maturin build --release -q -o dist

ci:
	@bash .ci/run

clean:
	rm -rf $(VENV) target dist report .cordum
