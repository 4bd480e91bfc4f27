#!/usr/bin/env bash
# Measures the three programs, built for release, against a real API server and a real S3 server, and a restore beside
# a plain concurrent client that creates the same objects. Prints a table; asserts nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p lifeboat-agent -p lifeboat-replicator -p lifeboat-cli -p lifeboat-tests
exec python3 tests/bench/run.py "$@"
