#!/usr/bin/env bash
# Builds one browser page (a folder with package.json and package-lock.json) into its dist/, where its sources changed since the last build.
# Usage: build-web.sh [--deps] FOLDER      (--deps: only its npm packages)
set -euo pipefail

only_deps=
if [[ ${1-} == --deps ]]; then only_deps=yes; shift; fi
cd "$1"

hash_of() { sha256sum "$@" | sha256sum | cut -c1-32; }

# The stamps lie in node_modules, so that dropping that folder forgets them too.
deps=$(hash_of package.json package-lock.json)
if [[ $(cat node_modules/.easel-deps 2>/dev/null) != "$deps" ]]; then
  echo "Installing the npm packages of $1…"
  npm ci --no-audit --no-fund --loglevel=error
  echo "$deps" >node_modules/.easel-deps
fi
[[ -z $only_deps ]] || exit 0

mapfile -d '' sources < <(find . \( -name node_modules -o -name dist -o -name coverage \) -prune -o -type f ! -name '*.go' -print0 | LC_ALL=C sort -z)
source=$(hash_of "${sources[@]}")
built=$(find dist -type f ! -name .gitkeep 2>/dev/null | head -n1)
if [[ $(cat node_modules/.easel-build 2>/dev/null) != "$source" || -z $built ]]; then
  echo "Building $1…"
  npm run --silent build
  touch dist/.gitkeep
  echo "$source" >node_modules/.easel-build
fi
