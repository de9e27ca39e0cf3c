#!/bin/sh
# A removal keeps configuration and data; a purge removes them, home volumes included.
set -e

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
[ "$1" = purge ] || exit 0

if grep -q ' /run/easel/noded/' /proc/self/mounts 2>/dev/null; then
	echo "easel-node: home volumes are still mounted below /run/easel/noded; their data in /var/lib/easel/noded is kept. Unmount them and remove that directory by hand." >&2
else
	rm -rf --one-file-system /var/lib/easel/noded /run/easel/noded
fi
rm -rf --one-file-system /var/lib/easel/containerd /run/easel/containerd /var/cache/easel
for dir in /var/lib/easel /run/easel /etc/easel; do
	rmdir "$dir" 2>/dev/null || true
done
