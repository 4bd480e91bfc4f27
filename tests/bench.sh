#!/usr/bin/env bash
# Measures the programs, built for release. `objects`: against a real API server and a real S3 server, and a restore
# beside a plain concurrent client that creates the same objects. `files`: directory trees beside restic, kopia and
# rustic (`tests/bench.sh files --help`). `pull`: first pulls and idle ones beside rclone, near and far. Without a word all. Prints tables; asserts nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p lifeboat-agent -p lifeboat-replicator -p lifeboat-cli -p lifeboat-tests
case "${1:-}" in
  objects) shift; exec python3 tests/bench/run.py "$@" ;;
  files) shift; exec python3 tests/bench/files.py "$@" ;;
  pull) shift; exec python3 tests/bench/pull.py "$@" ;;
  *) python3 tests/bench/run.py; python3 tests/bench/pull.py; exec python3 tests/bench/files.py ;;
esac
