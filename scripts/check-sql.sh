#!/usr/bin/env bash
# Gate over the SQL inside Rust: it stands in `store` (a service's) and `db` (core's and the command line's) and in
# tests only, and a service's store names its own schema only. Coarse on purpose: it reads lines, not the language.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
refuse() { # what is wrong, then the places
  echo "$1" >&2
  sed 's/^/  /' >&2
  failed=1
}

rust_files() { # pathspecs: what is, or would be, committed and still exists
  git ls-files --cached --others --exclude-standard --deduplicate -- "$@" | while read -r file; do
    [[ -f "$file" ]] && printf '%s\n' "$file"
  done
  return 0
}

# A statement begins a string literal or, in a literal of several lines, a line. The tests close the file.
# shellcheck disable=SC2016 # the dollar is awk's
statements='
  FNR == 1 { tests = 0 }
  /^mod tests/ { tests = 1 }
  !tests && /(^[ \t]*|")(SELECT |INSERT INTO |UPDATE [a-z_.]+ |DELETE FROM |(CREATE|ALTER|DROP) (TABLE|INDEX|SCHEMA|ROLE|DATABASE)|WITH [a-z_]+ AS )/ {
    print FILENAME ":" FNR ":" $0
  }'
elsewhere=$(rust_files '*.rs' | { grep -vE '(^|/)(store|db)(\.rs|/)|(^|/)(tests|benches|testkit)/' || true; } |
  xargs -r awk "$statements")
[[ -z "$elsewhere" ]] || refuse "SQL stands in store and db only: move the statement there." <<<"$elsewhere"

schemas='auth|core|crosschain|eventsourcing|keymanagement|monitoring|oracle|sgx|voting'
for folder in services/*/; do
  own=$(basename "$folder")
  # A hot statement may write its event, the head row of a new stream, and its audit row itself (core::db::RECORD), and
  # nothing else of the two.
  foreign=$(rust_files "services/$own/src/store*" |
    xargs -r grep -noHE "\b(FROM|JOIN|INTO|UPDATE) +($schemas)\.[a-z_]+" |
    { grep -vE " $own\.|INTO +(eventsourcing\.(events|streams)|monitoring\.audit_logs)$" || true; }) || true
  [[ -z "$foreign" ]] || refuse "services/$own touches its own schema only: use a port of core, or an event." <<<"$foreign"
done

exit "$failed"
