#!/usr/bin/env bash
# Gate over the files of the repository: their length, their names, and words that stand for unfinished work.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
refuse() { # what is wrong, then the places
  echo "$1" >&2
  sed 's/^/  /' >&2
  failed=1
}

files() { # pathspecs: what is, or would be, committed and still exists
  git ls-files --cached --others --exclude-standard --deduplicate -- "$@" | while read -r file; do
    [[ -f "$file" ]] && printf '%s\n' "$file"
  done
  return 0
}

source_files=$(files '*.rs' '*.sql' '*.sh' '*.py' '*.sol' '*.js' '*.ts' Makefile .ci/run)
rust_files=$(files '*.rs')

# init.sql is generated from migrations/, and a test compares the two.
long=$(while read -r file; do
  [[ "$file" != docker/postgres/init.sql ]] || continue
  lines=$(wc -l <"$file")
  ((lines <= 700)) || echo "$file: $lines lines"
done <<<"$source_files")
[[ -z "$long" ]] || refuse "No file over 700 lines: split it by noun into a folder of the same name." <<<"$long"

# Layer files are where code bases rot (ARCHITECTURE.md): a piece belongs to the noun that it works on.
names=$(grep -E '(^|/)(utils?|helpers?|common|managers?|service)(\.rs|/)' <<<"$rust_files" || true)
[[ -z "$names" ]] || refuse "No module called utils, helpers, common, manager or service: name the noun." <<<"$names"

# clippy knows todo!(), but neither the comment nor the attribute behind a cfg that this machine does not build.
unfinished=$(xargs -r grep -nE '\b(todo|unimplemented)!|\b(TODO|FIXME|XXX|HACK)\b' <<<"$rust_files" || true)
[[ -z "$unfinished" ]] || refuse "Nothing unfinished lands: finish it, or leave it out." <<<"$unfinished"

allowed=$(xargs -r grep -nE '#!?\[(allow|cfg_attr\(.*\ballow)\(' <<<"$rust_files" || true)
[[ -z "$allowed" ]] || refuse 'Use #[expect(lint, reason = "…")]: it tells when it is no longer needed.' <<<"$allowed"

manifests=$(files '*Cargo.toml' | while read -r manifest; do
  # The root has no package; a workspace of its own (fuzzing) cannot inherit from ours.
  grep -q '^\[workspace\]' "$manifest" || [[ "$(grep -A1 '^\[lints\]' "$manifest")" == $'[lints]\nworkspace = true' ]] ||
    echo "$manifest"
done)
[[ -z "$manifests" ]] || refuse 'Each member inherits the lints: "[lints]", then "workspace = true".' <<<"$manifests"

exit "$failed"
