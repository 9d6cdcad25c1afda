#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, one after the other, or FUZZ_JOBS at a time:
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

one() {
    local target=$1
    mkdir -p "corpus/$target" "regressions/$target"
    local said
    if said=$(cargo fuzz run "${options[@]}" "$target" "corpus/$target" "seeds/$target" "regressions/$target" -- "${limits[@]}" 2>&1); then
        printf '\n== %s\n%s\n' "$target" "$(grep -E 'stat::|DONE' <<<"$said")"
    else
        printf '\n== %s FAILED\n%s\n' "$target" "$(tail -n 40 <<<"$said")"
        return 1
    fi
}

# `wait -n` gives the status of the target that ended, so the first finding ends the script.
running=0
for target in "${targets[@]}"; do
    if ((running == ${FUZZ_JOBS:-1})); then
        wait -n
        running=$((running - 1))
    fi
    one "$target" &
    running=$((running + 1))
done
while ((running--)); do wait -n; done
