#!/usr/bin/env bash
# Prints the folder of a mail server for the tests (aiosmtpd, pure Python), for PYTHONPATH: fetched once, with pinned
# versions and checksums, into the cache outside the repository. Needs python3 (3.10 or newer) with pip.
set -euo pipefail
umask 022

home=${XDG_CACHE_HOME:-$HOME/.cache}/nsl/smtp/aiosmtpd-1.4.6
if [[ -d "$home" ]]; then
  echo "$home"
  exit
fi

mkdir -p "${home%/*}"
work=$(mktemp -d "${home%/*}/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching the mail server of the tests (aiosmtpd)" >&2
cat >"$work/requirements.txt" <<'PINS'
aiosmtpd==1.4.6 --hash=sha256:72c99179ba5aa9ae0abbda6994668239b64a5ce054471955fe75f581d2592475
atpublic==9.0.0 --hash=sha256:449c3c4f0c74df79749d6fe225ba55e2a2fce34b303f0329211e4d6989ed6f6e
attrs==26.1.0 --hash=sha256:c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309
PINS
python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
  --target "$work/lib" --requirement "$work/requirements.txt" >&2
# Two tests at once: whoever is later keeps the other's folder.
mv -T "$work/lib" "$home" 2>/dev/null || [[ -d "$home" ]]
echo "$home"
