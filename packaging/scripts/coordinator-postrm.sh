#!/bin/sh
# A removal keeps configuration, accounts, the cluster's authority and keys; a purge removes them and the daemon's user.
set -e

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
[ "$1" = purge ] || exit 0

rm -rf --one-file-system /var/lib/easel/coordinator /run/easel/coordinator
for dir in /var/lib/easel /run/easel /etc/easel; do
	rmdir "$dir" 2>/dev/null || true
done
if getent passwd easel-coordinator >/dev/null; then
	userdel easel-coordinator
fi
if getent group easel-coordinator >/dev/null; then
	groupdel easel-coordinator
fi
