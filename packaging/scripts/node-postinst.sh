#!/bin/sh
# Runs again without harm. Starts nothing on a first installation: the node has to join a cluster first.
set -e

[ "$1" = configure ] || exit 0

install -d -m 0755 /etc/easel /var/lib/easel /var/cache/easel
install -d -m 0700 /var/lib/easel/noded
install -d -m 0711 /var/lib/easel/containerd

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemd-tmpfiles --create easel-node.conf || true
	# An upgrade: sessions and streams live through both restarts.
	if [ -n "$2" ]; then
		systemctl try-restart easel-containerd.service easel-noded.service || true
	fi
fi
if [ -z "$2" ]; then
	echo "easel-node: look through /etc/easel/noded.yaml, then: noded doctor; systemctl enable --now easel-containerd; noded image build; noded join, with a token on stdin from 'coordinator token --role node'; systemctl enable --now easel-noded"
fi
