#!/bin/sh
# A removal keeps configuration, accounts and the signing key; a purge removes them and the daemon's user.
set -e

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
[ "$1" = purge ] || exit 0

rm -rf --one-file-system /var/lib/easel/coordinator /run/easel/coordinator
if [ -e /etc/easel/cluster.key ]; then
	if [ -e /usr/lib/easel/noded ]; then
		chown root:root /etc/easel/cluster.key
	else
		rm -f /etc/easel/cluster.key
	fi
fi
for dir in /var/lib/easel /run/easel /etc/easel; do
	rmdir "$dir" 2>/dev/null || true
done
if getent passwd easel-coordinator >/dev/null; then
	userdel easel-coordinator
fi
if getent group easel-coordinator >/dev/null; then
	groupdel easel-coordinator
fi
