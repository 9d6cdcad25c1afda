#!/usr/bin/env bash
# The same load on etcd (three members) and on bftkv (four nodes that sign and store, TLS), in turn
# on this machine, and the ratios. Everything listens on loopback and lives in a temporary folder.
#
#   compare/etcd.sh [CLIENTS [SECONDS [ROUNDS]]]
#
# Needs etcd (Debian: etcd-server), protoc (protobuf-compiler, to build etcd's client) and jq.
# What is compared is not the same promise: etcd's members trust each other and their clients, and
# its messages are neither encrypted nor signed here.
set -euo pipefail
cd "$(dirname "$0")/.."
clients=${1:-32} seconds=${2:-8} rounds=${3:-3}

for tool in etcd protoc jq; do
    command -v "$tool" >/dev/null || {
        echo "compare/etcd.sh: $tool is missing: apt install etcd-server protobuf-compiler jq" >&2
        exit 1
    }
done
target=${CARGO_TARGET_DIR:-target}
export RUST_LIB_BACKTRACE=0
cargo build --release --locked --workspace
cargo build --release --locked --manifest-path compare/etcd/Cargo.toml --target-dir "$target/compare"
bftkv=$target/release/bftkv

folder=$(mktemp -d)
pids=()
stop() {
    if ((${#pids[@]})); then kill "${pids[@]}" 2>/dev/null || true; fi
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT

# Ports that are free now.
ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in held:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))
PYTHON
}

read -ra port <<<"$(ports 6)"
members="m0=http://127.0.0.1:${port[3]},m1=http://127.0.0.1:${port[4]},m2=http://127.0.0.1:${port[5]}"
endpoints=""
for number in 0 1 2; do
    client="http://127.0.0.1:${port[number]}" peer="http://127.0.0.1:${port[number + 3]}"
    etcd --name "m$number" --data-dir "$folder/m$number" \
        --listen-client-urls "$client" --advertise-client-urls "$client" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
        --initial-cluster "$members" >"$folder/m$number.log" 2>&1 &
    pids+=($!)
    endpoints+="${endpoints:+,}$client"
done
sleep 3

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    "$target/compare/release/compare-etcd" "$clients" "$seconds" "$endpoints" "$(IFS=,; echo "${pids[*]}")" \
        >>"$folder/etcd.json"
    "$bftkv" --json bench --store 0 --clients "$clients" --seconds "$seconds" >>"$folder/bftkv.json"
    echo >>"$folder/bftkv.json"
done

for kind in put get; do
    for figure in per_second nodes_cpu_ms cpu_ms; do
        etcd=$(jq -s "map(select(.operation == \"$kind\").$figure) | sort | .[length / 2 | floor]" "$folder/etcd.json")
        ours=$(jq -s "map(.$kind.$figure) | sort | .[length / 2 | floor]" "$folder/bftkv.json")
        jq -nr --argjson etcd "$etcd" --argjson ours "$ours" --arg what "$kind $figure" \
            '"\($what): etcd \($etcd), bftkv \($ours * 1000 | round / 1000), ratio \($ours / $etcd * 100 | round / 100)"'
    done
done
