#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, one after the other, or FUZZ_JOBS at a time:
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# With 0 seconds it only builds them. Needs a C++ compiler and cargo-fuzz (`cargo install --debug
# --locked cargo-fuzz`); no nightly Rust, because no sanitizer is used: our own code has no
# `unsafe`. Stops at the first finding, says it, and prints its input, which is also in
# fuzz/artifacts. New inputs stay in fuzz/corpus, which is not committed.
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
if ((seconds == 0)); then exit; fi

# Before redb reads a page it takes the memory that the page's number asks for, and it believes the
# number. Nothing that lies below redb can refuse it: docs/reliability/storage.md, "Not covered".
known_limit='redb asked for all memory over a damaged page number, a known limit'

# What a finding says: the panic, the input in base64, and what to do with it. A log that is cut
# short must still tell enough to play it again.
report() {
    local target=$1 log=$2 artifact
    printf '\n== %s FAILED\n' "$target"
    grep -a -m1 -A4 'panicked at' "$log" || tail -n 20 "$log"
    grep -a -E '^(SUMMARY|ALARM|==[0-9]+== ERROR)' "$log" || true
    artifact=$(grep -a -o -m1 'artifacts/[^ ]*' "$log" | tail -n 1)
    if [[ -n $artifact && -f $artifact ]]; then
        printf 'the input, fuzz/%s, in base64:\n' "$artifact"
        base64 -w 100 "$artifact" | head -n 120
        printf 'keep it: mv fuzz/%s fuzz/regressions/%s/\n' "$artifact" "$target"
    fi
}

one() {
    local target=$1 log
    log=$(mktemp)
    mkdir -p "corpus/$target" "regressions/$target"
    local own=("${limits[@]}")
    # Handles of damaged files are forgotten on purpose, which adds up over a million of them.
    if [[ $target == store ]]; then own+=(-rss_limit_mb=4096); fi
    if cargo fuzz run "${options[@]}" "$target" "corpus/$target" "seeds/$target" "regressions/$target" -- "${own[@]}" >"$log" 2>&1; then
        printf '\n== %s\n%s\n' "$target" "$(grep -a -E 'stat::|DONE' "$log")"
        rm "$log"
    elif [[ $target == store ]] && grep -a -q -E 'out-of-memory|memory allocation of [0-9]+ bytes failed' "$log"; then
        printf '\n== %s ended early: %s\n' "$target" "$known_limit"
        rm "$log"
    else
        report "$target" "$log"
        rm "$log"
        return 1
    fi
}

# `wait -n` gives the status of a target that ended. After a finding no further target is begun,
# and those that run are waited for: a script that leaves them behind looks as if they had failed.
running=0
failed=0
reap() {
    wait -n || failed=1
    running=$((running - 1))
}
for target in "${targets[@]}"; do
    if ((running == ${FUZZ_JOBS:-1})); then reap; fi
    if ((failed)); then break; fi
    one "$target" &
    running=$((running + 1))
done
while ((running)); do reap; done
exit "$failed"
