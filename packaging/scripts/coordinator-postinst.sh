#!/bin/sh
# Runs again without harm. Makes the daemon's user and, where there is none yet, the key that members of a cluster share.
set -e

[ "$1" = configure ] || exit 0

user=easel-coordinator
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers easel-coordinator.conf
elif ! getent passwd "$user" >/dev/null; then
	useradd --system --user-group --home-dir /var/lib/easel/coordinator --no-create-home --shell /usr/sbin/nologin "$user"
fi

install -d -m 0755 /etc/easel /var/lib/easel
install -d -m 0700 -o "$user" -g "$user" /var/lib/easel/coordinator
if [ ! -e /etc/easel/cluster.key ]; then
	(umask 077 && head -c 32 /dev/urandom | base64 >/etc/easel/cluster.key.new && mv /etc/easel/cluster.key.new /etc/easel/cluster.key)
fi
# The node on the same host, which runs as root, reads the same file.
chown "root:$user" /etc/easel/cluster.key /etc/easel/coordinator.yaml
chmod 0640 /etc/easel/cluster.key /etc/easel/coordinator.yaml

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	if [ -n "$2" ]; then
		systemctl try-restart easel-coordinator.service || true
	fi
fi
if [ -z "$2" ]; then
	echo "easel-coordinator: look through /etc/easel/coordinator.yaml, then: systemctl enable --now easel-coordinator; coordinator signin-link"
fi
