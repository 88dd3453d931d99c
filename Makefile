# Two commands are enough: `make run` serves, `make test` checks everything. Both install what they need.
.PHONY: run test lint unit clients fuzz observability container soak bench replay demo pictures docs clean help

# Debian's own, which has Debian's python3-yaml.
PYTHON = /usr/bin/python3

FUZZ_SECONDS ?= 120

help:      ## This list
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: [^#]*##/\t/' | expand -t 15

run:       ## Builds and serves on the defaults of config.yaml
	@scripts/setup run
	cargo run --release --locked -- run

test: lint unit clients fuzz observability container ## Formatting, lints, documentation and all tests: what CI runs

lint:      ## Formatting, clippy and documentation, warnings denied
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --quiet

# The experiments measure, and so have the machine to themselves.
unit:      ## All tests of the crate, against real files, processes and clocks
	@scripts/setup test
	cargo test --locked -- --skip experiments::
	cargo test --locked --test main -- experiments:: --test-threads=1

clients:   ## Real apps and tools against the Redis door
	@scripts/setup clients
	cargo build --locked
	$(PYTHON) -m unittest tools.clients.test_apps tools.clients.test_libraries tools.clients.test_sessions

fuzz:      ## What reads other people's bytes, fuzzed: two minutes each, or FUZZ_SECONDS
	@scripts/setup fuzz
	fuzz/run $(FUZZ_SECONDS)

observability: ## Rules, alerts, dashboards and pages, against the real Prometheus and Alertmanager
	@scripts/setup observability
	cargo build --locked
	$(PYTHON) -m unittest discover --start-directory tools/tests --top-level-directory .

container: ## Builds the container image without a registry, and runs it
	@scripts/setup test
	scripts/container-test

soak:      ## The long runs: the experiments in full length
	@scripts/setup test
	SESSGATE_SOAK=1 cargo test --locked --release -- experiments --nocapture --test-threads=1

bench:     ## Every comparison with a peer, side by side; writes benches/RESULTS.md
	@scripts/setup bench
	cargo bench --locked --bench compare

replay:    ## Weeks of traffic through the alert rules; writes alerts/REPLAY.md
	@scripts/setup observability
	$(PYTHON) -m tools.replay

demo:      ## Sidecar, Prometheus, Alertmanager and traffic, to look at; Ctrl-C stops all
	@scripts/setup observability
	cargo build --locked
	$(PYTHON) -m tools.demo

pictures:  ## Draws the dashboards from real data; writes docs/pictures
	@scripts/setup pictures
	cargo build --locked
	$(PYTHON) -m tools.dashboards.pictures

docs:      ## Regenerates the generated documentation
	SESSGATE_BLESS=1 cargo test --locked --test main -- metrics::

clean:
	cargo clean
