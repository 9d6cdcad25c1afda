#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, one after the other, on one processor:
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# Needs a C++ compiler and cargo-fuzz (`cargo install --debug --locked cargo-fuzz`); no nightly
# Rust, because no sanitizer is used: our own code has no `unsafe`. Stops at the first finding; the
# input is then in fuzz/artifacts. New inputs stay in fuzz/corpus, which is not committed.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?how many seconds for each target}
shift
# An input may take a second and 512 MiB; more is a finding.
limits=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1)
options=(--sanitizer none --strip-dead-code --target-dir "${FUZZ_TARGET_DIR:-../target/fuzz}")

if (($#)); then
    targets=("$@")
else
    mapfile -t targets < <(cd fuzz_targets && ls | sed 's/\.rs$//')
fi
cargo fuzz build "${options[@]}" 2>&1 | tail -3
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "regressions/$target"
    printf '\n== %s\n' "$target"
    cargo fuzz run "${options[@]}" "$target" "corpus/$target" "seeds/$target" "regressions/$target" -- "${limits[@]}" 2>&1 |
        grep -E 'panicked|assert|SUMMARY|stat::|DONE|ERROR|Test unit' || exit 1
done
