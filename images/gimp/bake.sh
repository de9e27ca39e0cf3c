#!/bin/sh
# Readies GIMP ahead of a session's first start, in the root named by $1, as uid $2, with the environment that follows: its profile with the list of plug-ins (asking each
# of them takes half a minute) and the fonts' cache. Runs in namespaces of its own, so its mounts end with it.
set -eu
exec >&2
root=$1 uid=$2
shift 2
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero random urandom; do
	touch "$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
console() { chroot --userspec="$uid:$uid" --groups="$uid" "$root" /usr/bin/env -i "$@" gimp-console-3.0 --no-interface --quit </dev/null; }

# Its window fills the screen from the beginning.
profile=$root/home/artist/.config/GIMP/3.0
sed 's/(maximized "no")/(maximized "yes")/' "$root/etc/gimp/3.0/sessionrc" >"$profile/sessionrc"
grep -q '(maximized "yes")' "$profile/sessionrc" || echo "note: GIMP's sessionrc has no window to maximise"

echo "note: fonts"
chroot "$root" fc-cache --system-only
echo "note: GIMP asks its plug-ins"
console "$@"
echo "note: GIMP starts with what it learnt"
console "$@"
