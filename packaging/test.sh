#!/usr/bin/env bash
# Easel's tests, in phases: what fails quickly comes first, every phase says how long it took, and the last line counts.
# Usage: test.sh all | lint unit web fuzz integration cluster…     (make test, make unit, … call it)
set -uo pipefail
cd "$(dirname "$0")/.."

reports=out/test
tools=$PWD/bin/tools
failed=()
timings=()

# phase NAME COMMAND… runs one phase and remembers how it ended.
phase() {
  local name=$1 began=$SECONDS
  shift
  echo "=== $name"
  if "$@"; then
    timings+=("$(printf '%-12s ok      %4d s' "$name" $((SECONDS - began)))")
    return 0
  fi
  failed+=("$name")
  timings+=("$(printf '%-12s FAILED  %4d s' "$name" $((SECONDS - began)))")
  return 1
}

# go_test NAME ARGUMENTS… runs go test, prints a line a package and the output of what failed, and keeps the events for counting.
go_test() {
  local name=$1
  shift
  "$tools/gotestsum" --format pkgname-and-test-fails --format-hide-empty-pkg --hide-summary=skipped --jsonfile "$reports/$name.json" -- "$@"
}

unit_packages() { go list ./... | grep -v '/integration/\|/integration$'; }

# integration/… packages whose tests need no machine of their own: they run with the unit tests.
plain_integration() { go list ./integration/deptest ./integration/relaybench ./integration/xclient/... ./integration/gpucard ./integration/devstack/... ./integration/cmd/... 2>/dev/null; }

lint() {
  local ok=0
  { make lint-go || ok=1; make lint-web || ok=1; [[ $ok -eq 0 ]]; } 2>&1 | tee "$reports/lint.log"
}

# The packages that take minutes come first, so that none of them is left to run alone at the end.
long_packages() { go list ./noded/stream ./noded/gpu/partition ./noded/session; }

unit() {
  local packages
  mapfile -t packages < <(long_packages; unit_packages; plain_integration)
  # -p 2: several packages start a containerd or an X server of their own. Lint has vetted them.
  go_test unit -race -vet=off -p 2 -timeout 20m "${packages[@]}"
}

web() {
  local page ok=0
  for page in $(make -s print-web-pages); do
    packaging/build-web.sh "$page" || return 1
    (cd "$page" && npm test --silent && npm run --silent --if-present e2e) 2>&1 | tee "$reports/web-${page//\//-}.log" || ok=1
  done
  return $ok
}

# fuzz gives every fuzz target in the tree a short time, two packages at once, those with most targets first. Targets are found, not listed,
# so that a new one cannot be forgotten.
fuzz() {
  local ok=0
  built=$(mktemp -d) || return 1
  export -f fuzz_package fuzz_one fuzz_failed
  export built reports=$PWD/out/test
  git -c safe.directory='*' ls-files -co --exclude-standard '*_test.go' | LC_ALL=C sort |
    xargs grep -HoE '^func Fuzz[A-Za-z0-9_]*' | sed -E 's|^(.*)/[^/]*:func (.*)$|./\1 \2|' |
    awk '{ targets[$1] = targets[$1] " " $2; n[$1]++ } END { for (p in n) print n[p], p targets[p] }' | sort -rn | cut -d' ' -f2- |
    xargs -L1 -P2 bash -c 'fuzz_package "$@"' fuzz || ok=1
  rm -rf "$built"
  return $ok
}

# fuzz_package PACKAGE TARGET… builds a package's tests for fuzzing, once for all its targets.
fuzz_package() {
  local package=$1 target ok=0 binary=$built/${1//[.\/]/-}.test
  shift
  if ! go test -c -vet=off -fuzz . -o "$binary" "$package" >"$binary.log" 2>&1; then
    for target in "$@"; do fuzz_failed "$package" "$target" "$binary.log"; done
    return 1
  fi
  for target in "$@"; do fuzz_one "$package" "$target" "$binary" || ok=1; done
  rm -f "$binary"
  return $ok
}

# fuzz_one PACKAGE TARGET BINARY fuzzes one target, in the package's folder, as go test would.
fuzz_one() {
  local log=$3.$2.log attempt cache
  cache=$(go env GOCACHE)/fuzz/$(go list "$1")
  # Go's fuzzer sometimes reports its own deadline as a failure (golang/go#75804): that, and only that, is tried once more.
  for attempt in 1 2; do
    if (cd "$1" && "$3" -test.paniconexit0 -test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "${FUZZTIME:-5s}" \
      -test.fuzzminimizetime 5s -test.parallel 1 -test.fuzzcachedir "$cache") >"$log" 2>&1; then
      echo "ok    $1 $2 $(grep -oE 'execs: [0-9]+' "$log" | tail -n1)"
      echo "$1 $2" >>"$reports/fuzz.passed"
      return 0
    fi
    grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log" || break
  done
  fuzz_failed "$1" "$2" "$log"
  return 1
}

# fuzz_failed PACKAGE TARGET LOG tells of a target that failed.
fuzz_failed() {
  echo "FAIL  $1 $2"
  tee "$reports/fuzz-$2.log" <"$3"
  echo "$1 $2" >>"$reports/fuzz.failed"
}

integration() {
  local packages
  mapfile -t packages < <(go list ./integration/... | grep -vxF "$(plain_integration)" | grep -v '/integration/cluster$')
  # One package at a time: each has the machine's containerd root, ports and CPU to itself.
  go_test integration -vet=off -count=1 -p 1 -timeout 20m "${packages[@]}"
}

# cluster breaks three nodes and three coordinators on purpose; CHAOS_SEED and CHAOS_TIME are of the random run that ends it.
cluster() {
  go_test cluster -vet=off -count=1 -timeout 15m ./integration/cluster
}

build() {
  packaging/install-deps.sh build run test && make build containerd tools
}

# why repeats, briefly, what the failed phases said: of a long run often the end alone is seen.
why() {
  local name files=()
  for name in "${failed[@]}"; do
    for f in "$reports/$name"{,-*}.{json,log}; do
      [[ -e $f ]] && files+=("$f")
    done
  done
  [[ ${#files[@]} -eq 0 ]] || go run ./packaging/failures "${files[@]}"
}

# count ACTION counts tests (not packages) that ended so, in all phases run now.
count() {
  local n=0 f
  for f in "$reports"/*.json; do
    [[ -e $f ]] && n=$((n + $(grep -c "\"Action\":\"$1\".*\"Test\":" "$f")))
  done
  echo "$n"
}

web_count() { cat "$reports"/web-*.log 2>/dev/null | sed 's/\x1b\[[0-9;]*m//g' | grep -E '^ *Tests ' | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'; }
lines() { if [[ -e $1 ]]; then wc -l <"$1"; else echo 0; fi; }

rm -rf "$reports"
mkdir -p "$reports"
phases=("$@")
[[ $1 == all ]] && phases=(build lint unit web fuzz integration cluster)
for name in "${phases[@]}"; do
  # Without a build there is nothing to test; any other phase is worth running after one that failed.
  phase "$name" "$name" || [[ $name != build ]] || break
done

[[ ${#failed[@]} -eq 0 ]] || { echo "=== why" && why; }
echo "=== times"
printf '%s\n' "${timings[@]}"
skipped=$(count skip)
passed=$(($(count pass) + $(web_count passed) + $(lines "$reports/fuzz.passed")))
bad=$(($(count fail) + $(web_count failed) + $(lines "$reports/fuzz.failed")))
# A phase that failed without a failing test (a compile error, lint) counts as one.
if [[ ${#failed[@]} -gt 0 && $bad -lt ${#failed[@]} ]]; then bad=${#failed[@]}; fi
[[ ${#failed[@]} -eq 0 ]] || echo "Failed: ${failed[*]}"
[[ $skipped -eq 0 ]] || echo "$skipped skipped"
echo "$passed passed, $bad failed"
[[ ${#failed[@]} -eq 0 ]]
