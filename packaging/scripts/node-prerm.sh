#!/bin/sh
# An upgrade leaves everything running; a removal ends the sessions first, because nothing would own them afterwards.
set -e

case "$1" in
remove | deconfigure)
	if [ -S /run/easel/noded/noded.sock ]; then
		/usr/lib/easel/noded session stop --all --config /etc/easel/noded.yaml || true
	fi
	if [ -d /run/systemd/system ]; then
		systemctl disable --now easel-noded.service easel-containerd.service || true
		# Alone and last: it would else have noded drain for a shutdown that does not come.
		systemctl disable --now easel-drain.service || true
	fi
	;;
esac
