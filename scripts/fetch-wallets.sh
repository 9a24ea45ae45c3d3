#!/usr/bin/env bash
# Prints the directory of the wallets that the tests of nsl-chain check themselves against, for NSL_FOREIGN_WALLETS.
# The first time it installs them from npm and PyPI into a cache outside the repository, in the versions that
# tests/foreign-wallets pins; no script or build of a package is run.
set -euo pipefail
umask 022

stop() {
  printf '%s\n' "$@" >&2
  exit 1
}

pins=$(cd "$(dirname "$0")/../tests/foreign-wallets" && pwd)
command -v npm >/dev/null || stop "npm is missing: install Node.js 18 or later (Debian: nodejs, npm)"
command -v python3 >/dev/null || stop "python3 is missing: install Python 3.11 or later (Debian: python3, python3-pip)"

# Another pin or another Python is another installation.
version=$({
  cat "$pins/package-lock.json" "$pins/requirements.txt"
  python3 --version
  uname -sm
} | sha256sum)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nsl/wallets
home=$cache/${version:0:16}
if [[ -d "$home" ]]; then
  echo "$home"
  exit
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching the wallets that the tests check themselves against" >&2
cp "$pins/package.json" "$pins/package-lock.json" "$work"
# The lock file holds a checksum of every package.
(cd "$work" && npm ci --silent --ignore-scripts --no-audit --no-fund >&2)
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --only-binary=:all: \
  --target "$work/python" --requirement "$pins/requirements.txt" >&2
chmod 755 "$work"
# The rename makes it appear whole or not at all; another run may have been quicker.
mv -T "$work" "$home" 2>/dev/null || [[ -d "$home/python" ]]
echo "$home"
