#!/bin/bash
# Becomes a container: runs as the first process of new mount, UTS, IPC and PID namespaces, in the
# network namespace of the container, and ends as its command. The host's files are below a layer
# that vanishes with the container, so nothing that is written here is left on the host.
#
# Arguments: the folder that tests/cluster/containers.py wrote for it, then its command.
set -euo pipefail
folder=$1
shift
source "$folder/settings"  # host, shm_size, read_only, uid, gid, home, trees, fresh, binds, tmpfs

mount -t tmpfs -o mode=0755 layer "$folder/layer"
mkdir "$folder"/layer/{upper,work,root}
root=$folder/layer/root
mount -t overlay -o "lowerdir=/,upperdir=$folder/layer/upper,workdir=$folder/layer/work" overlay "$root"

hostname "$host"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o "size=$shm_size,mode=1777" shm "$root/dev/shm"
covered=" $(printf '%s ' "${tmpfs[@]%%|*}")"
for path in "${fresh[@]}"; do  # folders that are empty in an image
  [[ $covered == *" $path "* ]] || mount -t tmpfs -o mode=1777 fresh "$root$path"
done
for line in "${tmpfs[@]}"; do
  IFS='|' read -r target option <<< "$line"
  mkdir -p "$root$target"
  mount -t tmpfs -o "mode=1777${option:+,$option}" tmpfs "$root$target"
done
# What stands in for images may lie where only root may go, or in /tmp: so it comes after that.
for path in "${trees[@]}"; do
  mkdir -p "$root$path"
  while path=$(dirname "$path"); [ "$path" != / ]; do chmod o+x "$root$path"; done
done
for path in "${trees[@]}"; do
  mkdir -p "$root$path"
  mount --rbind -o ro "$path" "$root$path"
done
install --directory --owner="$uid" --group="$gid" "$root$home"
cp "$folder/passwd" "$root/etc/"
mount --bind "$folder/hosts" "$root/etc/hosts"  # addresses may change
# No DNS but nginx's own; another question to one is to fail at once.
echo "nameserver 127.0.0.1" | install /dev/stdin "$root/etc/resolv.conf"
for line in "${binds[@]}"; do
  IFS='|' read -r source target option <<< "$line"
  if [ -d "$source" ]; then mkdir -p "$root$target"; else install -D /dev/null "$root$target"; fi
  mount --bind "$source" "$root$target"
  mount -o "remount,bind,$option" "$root$target"
done
if [ "$read_only" = yes ]; then
  for path in "${fresh[@]}"; do
    [[ $covered == *" $path "* ]] || mount -o remount,ro "$root$path"
  done
fi
mkdir "$root/below"
cd "$root"
pivot_root . below
umount --lazy /below
rmdir /below
if [ "$read_only" = yes ]; then mount -o remount,ro /; fi

cd "$home"
exec setpriv --reuid="$uid" --regid="$gid" --clear-groups "${privileges[@]}" "$@"
