#!/bin/sh
# The first process of a board's own namespaces: mounts its tree and becomes its sshd.
# All mounts lie in this namespace, so that they end with the board, however it ends.
# Arguments: the board's folder, what its root lies on, its host name, its processor ("" for this machine's own).
set -eu
board=$1 lower=$2 hostname=$3 cpu=$4
root=$board/root disk=$board/disk

printf '%s' "$hostname" >/proc/sys/kernel/hostname
if [ "$lower" = / ]; then
  # An overlay cannot keep its changes below what it lies on.
  mount -t tmpfs -o size=4g,mode=0755 edgebench-lab "$disk"
fi
mkdir -p "$disk/upper" "$disk/work"
cp -a "$board/files/." "$disk/upper/"
mount -t overlay -o "lowerdir=$lower,upperdir=$disk/upper,workdir=$disk/work" edgebench-lab "$root"

mount -t proc proc "$root/proc"
mount --bind "$board/stand-ins/meminfo" "$root/proc/meminfo"
if [ -e "$board/stand-ins/cpuinfo" ]; then
  mount --bind "$board/stand-ins/cpuinfo" "$root/proc/cpuinfo"
fi
mount --bind "$board/stand-ins/boot_id" "$root/proc/sys/kernel/random/boot_id"
# A board with a /sys of its own has no other: what sysfs has no folder for cannot be laid over it.
if [ -d "$board/power-on" ]; then
  rm -rf "$board/stand-ins/sys"
  cp -a "$board/power-on/sys" "$board/stand-ins/"
fi
if [ ! -d "$board/stand-ins/sys" ]; then
  mount -t sysfs -o ro sysfs "$root/sys"
  mount --bind "$board/stand-ins/firmware" "$root/sys/firmware"
fi
if [ -d "$board/stand-ins/thermal" ] && [ -d "$root/sys/class/thermal" ]; then
  mount --bind "$board/stand-ins/thermal" "$root/sys/class/thermal"
fi
if [ -d "$board/stand-ins/cpu" ]; then
  mount --bind "$board/stand-ins/cpu" "$root/sys/devices/system/cpu"
fi

mount -t tmpfs -o size=64k,mode=0755 edgebench-lab "$root/dev"
for device in null zero full random urandom tty; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 edgebench-lab "$root/dev/shm"
mount -t tmpfs -o mode=1777 edgebench-lab "$root/tmp"
mount -t tmpfs -o mode=0755 edgebench-lab "$root/run"
mkdir "$root/run/sshd" "$root/run/stand-ins"
mount --bind "$board/stand-ins" "$root/run/stand-ins"

if [ -e "$board/binds" ]; then
  while read -r target source; do
    # Not every kernel has swap, and in /proc no place for it can be made.
    [ -e "$root/$target" ] || mkdir -p "$root/$target" 2>/dev/null || continue
    mount --bind "$source" "$root/$target"
  done <"$board/binds"
fi
if [ -d "$board/power-on" ]; then
  # As JetPack's service does at each start: the mode that was set last, with its limits.
  chroot "$root" /bin/sh -c '/usr/sbin/nvpmodel -m "$(/usr/sbin/nvpmodel -q | tail -n 1)"'
fi
if [ -e "$board/files/etc/tmpfiles.d/edgebench.conf" ]; then
  mkdir -m 0755 "$root/run/edgebench"
fi

cd /
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ${cpu:+"QEMU_CPU=$cpu"} \
  chroot "$root" /usr/sbin/sshd -D -e
