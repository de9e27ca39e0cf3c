#!/usr/bin/env bash
# Installs the Debian packages of the given sections of debian-packages.txt that are missing, and nothing else.
# Usage: install-deps.sh [--list] build|run|test…
set -euo pipefail

list="$(dirname "$0")/debian-packages.txt"
only_list=
if [[ ${1-} == --list ]]; then only_list=yes; shift; fi
if [[ $# -eq 0 ]]; then
  echo "usage: $0 [--list] build|run|test…" >&2
  exit 2
fi

# entries SECTION prints the name column of a section: one "name|alternative" a line.
entries() {
  awk -v want="[$1]" '/^\[/ { on = ($1 == want); next } on && NF && !/^#/ { print $1 }' "$list"
}

installed() {
  [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == ii* ]]
}

# known NAME: the package index has a version of it.
known() {
  [[ -n $(apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -vx '(none)') ]]
}

missing=()
for section in "$@"; do
  wanted=$(entries "$section")
  if [[ -z $wanted ]]; then
    echo "$0: no section [$section] in $list" >&2
    exit 2
  fi
  while read -r entry; do
    IFS='|' read -ra names <<<"$entry"
    have=
    for name in "${names[@]}"; do
      if command -v dpkg-query >/dev/null && installed "$name"; then have=yes; break; fi
    done
    [[ $have ]] || missing+=("$entry")
  done <<<"$wanted"
done

[[ ${#missing[@]} -gt 0 ]] || exit 0
if [[ $only_list ]]; then printf '%s\n' "${missing[@]}"; exit 0; fi

if ! command -v apt-get >/dev/null; then
  echo "easel: these packages are missing and this machine has no apt-get to install them: ${missing[*]}; Easel builds on Debian 12 and 13." >&2
  exit 1
fi
if [[ $(id -u) -ne 0 ]]; then
  echo "easel: these packages are missing: ${missing[*]}; installing them needs root, so run the same command with sudo." >&2
  exit 1
fi

# choose sets chosen to the first known alternative of every missing entry, unknown to what has none.
choose() {
  chosen=() unknown=()
  local entry name pick
  for entry in "${missing[@]}"; do
    pick=
    IFS='|' read -ra names <<<"$entry"
    for name in "${names[@]}"; do
      if known "$name"; then pick=$name; break; fi
    done
    if [[ $pick ]]; then chosen+=("$pick"); else unknown+=("$entry"); fi
  done
}

install() {
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -qq -y --no-install-recommends install "${chosen[@]}" >"$log" 2>&1
}

log=$(mktemp /tmp/easel-apt.XXXXXX)
trap 'rm -f "$log"' EXIT
echo "Installing from this machine's Debian packages: ${missing[*]}"
choose
# The index is fetched only when it does not know a name, or when what it names is gone from the mirror.
if [[ ${#unknown[@]} -gt 0 ]] || ! install; then
  apt-get -o DPkg::Lock::Timeout=120 -qq update >"$log" 2>&1 || true
  choose
  if [[ ${#unknown[@]} -gt 0 ]]; then
    echo "easel: this machine's package sources have no ${unknown[*]}; check /etc/apt/sources.list(.d) for a Debian 12 or 13 mirror that can be reached, then run the same command again." >&2
    exit 1
  fi
  if ! install; then
    tail -n 15 "$log" >&2
    echo "easel: apt-get could not install ${chosen[*]} (its last lines are above); mend that, for example with 'apt-get -f install', then run the same command again." >&2
    exit 1
  fi
fi

# Only its programs are wanted: the service would take the port of the relay.
if [[ " ${chosen[*]} " == *" coturn "* && -d /run/systemd/system ]]; then systemctl --quiet disable --now coturn || true; fi
