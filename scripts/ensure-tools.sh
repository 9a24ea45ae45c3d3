#!/usr/bin/env bash
# Makes sure that the named cargo tools are there: `ensure-tools.sh nextest deny`. Any version that is installed
# already will do. A missing one is built from its source into the cache, outside the repository, in the version
# pinned here; cargo-deny takes two cores some five minutes, once.
set -euo pipefail
umask 022

tools=${XDG_CACHE_HOME:-$HOME/.cache}/nsl/tools
export PATH="$PATH:$tools/bin"

pin() { # tool: sets its version
  case "$1" in
    deny) version=0.20.2 ;;
    nextest) version=0.9.143 ;;
    *)
      echo "usage: $0 [deny] [nextest]" >&2
      exit 2
      ;;
  esac
}

for tool in "$@"; do
  pin "$tool"
  command -v "cargo-$tool" >/dev/null && continue
  echo "cargo-$tool is missing: installing $version into $tools" >&2
  cargo install --locked --root "$tools" "cargo-$tool" --version "$version"
done
