#!/bin/sh
# An upgrade restarts the daemon afterwards; a removal ends it. Sessions are the nodes' and live on either way.
set -e

case "$1" in
remove | deconfigure)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now easel-coordinator.service || true
	fi
	;;
esac
