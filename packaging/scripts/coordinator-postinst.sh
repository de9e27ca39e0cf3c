#!/bin/sh
# Runs again without harm. Makes the daemon's user. Whether it founds a cluster or joins one is the operator's to say.
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
chown "root:$user" /etc/easel/coordinator.yaml
chmod 0640 /etc/easel/coordinator.yaml

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	if [ -n "$2" ]; then
		systemctl try-restart easel-coordinator.service || true
	fi
fi
if [ -z "$2" ]; then
	echo "easel-coordinator: look through /etc/easel/coordinator.yaml, then: coordinator init (the first one) or coordinator join; systemctl enable --now easel-coordinator; coordinator signin-link"
fi
