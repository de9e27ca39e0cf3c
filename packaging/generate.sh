#!/usr/bin/env bash
# Generates the Go code of pkg/api from its .proto, with the plugins that packaging/tools pins.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v protoc >/dev/null; then
  echo "generate: protoc is not on this machine; install it with: apt-get install protobuf-compiler" >&2
  exit 1
fi
make tools
export PATH="$PWD/bin/tools:$PATH"
cd pkg/api
protoc -I . \
  --go_out=. --go_opt=paths=source_relative \
  --connect-go_out=. --connect-go_opt=paths=source_relative \
  easel/v1/*.proto
