#!/usr/bin/env bash
# Runs the tests of the crates that meet the server itself against each named PostgreSQL major: all of them, also
# after a failure, then one line for each.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
summary=()
for major in "$@"; do
  bin=$(scripts/fetch-postgres.sh "$major")
  echo "== $("$bin/postgres" --version)"
  if NSL_PG_BIN=$bin cargo nextest run --locked -p nsl-postgres -p nsl-core -p nsl; then
    summary+=("PostgreSQL $major: passed")
  else
    summary+=("PostgreSQL $major: FAILED")
    failed=1
  fi
done
printf '%s\n' "${summary[@]}"
exit "$failed"
