#!/usr/bin/env bash
# cargo-deny over bans, licenses and sources, offline; installed once per version into the cache folder.
set -euo pipefail
VERSION=0.20.2
CACHE=${LIFEBOAT_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/lifeboat/peers}/cargo-deny-$VERSION
if [ ! -x "$CACHE/bin/cargo-deny" ]; then
  echo "deny: installing cargo-deny $VERSION into the cache folder, some minutes the first time"
  cargo install --quiet --locked --root "$CACHE" "cargo-deny@$VERSION"
fi
cargo fetch --quiet --locked
"$CACHE/bin/cargo-deny" --offline --log-level error check bans licenses sources
