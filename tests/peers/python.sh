#!/usr/bin/env bash
# Prints the path of a Python with the packages of tests/requirements.txt, making its virtual environment in the
# user's cache folder first where it is not there yet: one per content of that file, so that it is never changed.
set -euo pipefail

REQUIREMENTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/requirements.txt
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/lifeboat/python
HASH=$(sha256sum "$REQUIREMENTS" | cut -c1-16)
VENV=$CACHE/$HASH
mkdir -p "$CACHE"

# One at a time; a killed installation has no .done and is made anew.
exec 9>"$CACHE/.lock"
flock 9
if [ ! -e "$VENV/.done" ]; then
  command -v python3 >/dev/null || { echo "python.sh: Python 3.10 or newer is needed" >&2; exit 1; }
  echo "python.sh: installing $(grep -vc '^#' "$REQUIREMENTS") packages, once" >&2
  rm -rf "$VENV"
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check --requirement "$REQUIREMENTS" >&2
  touch "$VENV/.done"
fi
echo "$VENV/bin/python"
