# Two commands set everything up on a fresh Debian machine: `make demo` and `make test`.
.PHONY: demo test setup bench clean-lab

# Boots a real guest, checkpoints it, converts it and opens the core in gdb.
demo: setup
	cargo build --release --quiet --package vmss2core
	cargo xtask demo

# Everything CI checks: format, lints, docs, layers, tests with real guests and debuggers.
test: setup
	cargo xtask ci

# Speed as ratios to cp and peers in the same run.
bench: setup
	cargo xtask bench

# Installs the Debian packages that guests and judges need; does nothing if they are there.
setup:
	cargo xtask setup

# Forgets downloaded kernels, guests and judges.
clean-lab:
	cargo xtask lab clean
