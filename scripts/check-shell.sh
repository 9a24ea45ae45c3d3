#!/usr/bin/env bash
# Gate over the shell scripts: their syntax everywhere, and shellcheck's findings where it is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts=(.ci/run scripts/*.sh)
for script in "${scripts[@]}"; do
  bash -n "$script"
done
if command -v shellcheck >/dev/null; then
  shellcheck "${scripts[@]}"
else
  echo "shellcheck is not installed: only the syntax of the scripts was checked"
fi
