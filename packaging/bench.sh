#!/usr/bin/env bash
# Measures Easel beside TigerVNC + noVNC in one run, then runs the Go benchmarks, whose output benchstat reads.
# BENCH_FLAGS go to the first (make bench BENCH_FLAGS=--help lists them); BENCH_COUNT is the second's count (5).
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p out/bench
go build -o bin/bench ./integration/bench
status=0
# shellcheck disable=SC2086 # several flags in one variable
bin/bench --json out/bench/session.json ${BENCH_FLAGS-} || status=$?

echo
echo "A simulated cluster of 200 nodes, in virtual time:"
go test -count 1 -v -run '^TestCluster$' ./integration/sim -nodes 200 -sessions 4000 | tee out/bench/sim-200.txt || status=$?

echo
echo "Go benchmarks:"
mapfile -t packages < <(git -c safe.directory='*' grep -lE '^func Benchmark' -- '*_test.go' ':!integration' | xargs -rn1 dirname | sort -u | sed 's|^|./|')
packages+=(./integration/relaybench) # the relay beside coturn
go test -run '^$' -bench . -benchmem -count "${BENCH_COUNT:-5}" "${packages[@]}" | tee out/bench/go.txt || status=$?
echo
bin/tools/benchstat out/bench/go.txt || status=$?
exit "$status"
