#!/usr/bin/env bash
# Makes sure that a PostgreSQL server of version 15 or newer is installed; starts none. Says nothing when there is
# one; otherwise says so and installs the distribution's package. `nsl` and the tests look in the same places.
set -euo pipefail

oldest=15

major() { # bin directory: the major version of a server that can be initialised and started from it, or nothing
  [[ -x "$1/initdb" && -x "$1/pg_ctl" && -x "$1/postgres" ]] || return 0
  "$1/postgres" --version 2>/dev/null | sed -nE 's/^postgres \(PostgreSQL\) ([0-9]+).*/\1/p' || true
}

find_server() { # true when one is new enough; leaves the newest of the older ones in `found`
  local dir version
  found=
  for dir in "$(dirname "$(command -v postgres || echo /nowhere/postgres)")" /usr/lib/postgresql/*/bin \
    /usr/pgsql-*/bin /usr/local/pgsql/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
    version=$(major "$dir")
    [[ -n "$version" ]] || continue
    ((version >= oldest)) && return 0
    ((version > ${found:-0})) && found=$version
  done
  return 1
}

stop() {
  printf '%s\n' "$@" >&2
  exit 1
}

if [[ -n "${NSL_PG_BIN:-}" ]]; then
  version=$(major "$NSL_PG_BIN")
  [[ -n "$version" ]] || stop "NSL_PG_BIN=$NSL_PG_BIN has no initdb, pg_ctl and postgres: name a server's bin directory, or unset it"
  ((version >= oldest)) || stop "NSL_PG_BIN=$NSL_PG_BIN is PostgreSQL $version: name one of version $oldest or newer, or unset it"
  exit 0
fi
find_server && exit 0

echo "No PostgreSQL of version $oldest or newer is installed${found:+ (only $found)}." >&2
by_hand=(
  "Install PostgreSQL $oldest or newer, for example:"
  "  Debian, Ubuntu: apt-get install postgresql"
  "  Fedora: dnf install postgresql-server postgresql-contrib"
  "  Arch: pacman -S postgresql"
  "  macOS: brew install postgresql@17"
  "or set NSL_PG_BIN to the bin directory of a server; without administrator's rights on x86_64 Linux:"
  "  export NSL_PG_BIN=\$(scripts/fetch-postgres.sh 17)"
)
command -v apt-get >/dev/null || stop "${by_hand[@]}"

as_root=()
if ((EUID != 0)); then
  # Without a terminal nobody could type the password that sudo may ask for.
  if ! command -v sudo >/dev/null || { [[ ! -t 0 ]] && ! sudo -n true 2>/dev/null; }; then
    stop "Installing it takes root or sudo, and neither is at hand." "${by_hand[@]}"
  fi
  as_root=(sudo)
fi

echo "Installing the distribution's package postgresql (no server of its own is started)." >&2
# Before the package: its installation would otherwise create and start a cluster on port 5432.
"${as_root[@]}" mkdir -p /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.d/nsl.conf >/dev/null
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null

find_server || stop "The distribution's PostgreSQL is ${found:-not where it was looked for}: too old." "${by_hand[@]}"
