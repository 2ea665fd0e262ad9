# On a Debian machine with Rust: `make demo` shows what this is, `make test` checks all of it.
.PHONY: demo demo-instant test setup bench clean-lab linker

# Boots a real guest that panics, checkpoints it, and asks what happened.
demo: linker
	cargo xtask setup --demo
	cargo xtask demo

# The same with a small guest that is made up at once: nothing is downloaded.
demo-instant: linker
	cargo xtask demo --instant

# Everything CI checks: format, lints, docs, layers, tests with real guests and debuggers.
test: setup
	cargo xtask ci

# Speed as ratios to cp and peers in the same run.
bench: setup
	cargo xtask bench

# Installs the Debian packages that guests and judges need; does nothing if they are there.
setup: linker
	cargo xtask setup

# Forgets downloaded kernels, guests and judges.
clean-lab:
	cargo xtask lab clean

# Without these cargo says only "linker `cc` not found".
linker:
	@command -v cargo >/dev/null || { echo "cargo is missing: see https://rustup.rs"; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing, with which Rust links; as root:"; echo "  apt-get update && apt-get install -y gcc libc6-dev"; exit 1; }
