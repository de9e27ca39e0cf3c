#!/usr/bin/env bash
# Generates the Go code of pkg/api from its .proto, with the plugins that packaging/tools pins.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v protoc >/dev/null; then
  echo "generate: protoc is not on this machine; install it with: apt-get install protobuf-compiler" >&2
  exit 1
fi
make tools
PATH="$PWD/bin/tools:$PATH" protoc -I pkg/api \
  --go_out=pkg/api --go_opt=paths=source_relative \
  --connect-go_out=pkg/api --connect-go_opt=paths=source_relative \
  easel/v1/node.proto
