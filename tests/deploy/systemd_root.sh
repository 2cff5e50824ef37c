#!/usr/bin/env bash
# A systemd of the test's own, as PID 1 of namespaces of its own, with mayflyd's unit in it.
#
#   tests/deploy/systemd_root.sh FOLDER SOCKET PROGRAM    (root) does not return; kill it to end it
#
# Its root is this host's, read through an overlay: what it writes is in memory and gone with it.
# /proc/sys and /sys are read-only, /dev is its own, so that it leaves the host's kernel alone. It
# shares this process's network. FOLDER is an empty one to mount on; SOCKET is the engine's, and
# becomes /run/docker.sock; PROGRAM becomes /usr/bin/mayflyd. Its cgroups are FOLDER's name, below
# those of the whole host; who starts this removes them.
set -euo pipefail

unit=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../deploy/systemd" && pwd)
name=$(basename "$1")

cgroup_mounts() { awk '$3 == "cgroup" || $3 == "cgroup2" {print $3, $2}' /proc/self/mounts; }

# A cgroup in each hierarchy that is the root of all that systemd will see of it.
enter_cgroups() {
    local type point file
    while read -r type point; do
        mkdir -p "$point/$name"
        for file in cpuset.cpus cpuset.mems; do # v1: empty at first, and nothing may enter then
            [ "$type" = cgroup2 ] || [ ! -e "$point/$file" ] ||
                cat "$point/$file" >"$point/$name/$file"
        done
        echo $$ >"$point/$name/cgroup.procs"
    done < <(cgroup_mounts)
}

mount_cgroups() {
    local type point options
    mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    while read -r type point; do
        mkdir -p ".$point"
        options=$(basename "$point")
        case "$type-$options" in
        cgroup2-*) mount -t cgroup2 cgroup2 ".$point" ;;
        cgroup-systemd) mount -t cgroup -o none,name=systemd cgroup ".$point" ;;
        *) mount -t cgroup -o "$options" cgroup ".$point" ;;
        esac
    done <<<"$1"
}

make_devices() {
    local device
    mount -t tmpfs -o mode=755 tmpfs dev
    for device in null zero full random urandom tty; do cp -a "/dev/$device" dev/; done
    mkdir dev/shm dev/pts
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
}

install_unit() { # $1 = program
    install -m 0755 "$1" usr/bin/mayflyd
    install -m 0644 "$unit/mayfly.sysusers" usr/lib/sysusers.d/mayfly.conf
    install -m 0644 "$unit/mayflyd.service" etc/systemd/system/mayflyd.service
    # Of this host's own units none is wanted that basic.target asks for.
    : >etc/fstab
    ln -sf /dev/null etc/systemd/system/docker.socket
    ln -sf /dev/null etc/systemd/system/containerd.service
    printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nWants=mayflyd.service\n' \
        >etc/systemd/system/mayfly-test.target
    mkdir -p etc/mayfly
    echo MAYFLY_MAX_RUNNING=3 >etc/mayfly/mayflyd.env
}

boot() { # $1 = folder, $2 = socket, $3 = program, $4 = the mounts of cgroups
    mount -t tmpfs tmpfs "$1"
    mkdir "$1"/{upper,work,root}
    mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
    cd "$1/root"
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount_cgroups "$4"
    make_devices
    mount -t tmpfs -o mode=755 tmpfs run
    touch run/docker.sock
    mount --bind "$2" run/docker.sock
    install_unit "$3"
    mount -t tmpfs tmpfs tmp
    mkdir old
    pivot_root . old
    umount -l old
    exec env -i container=mayfly-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=mayfly-test.target
}

if [ "${4:-}" = inside ]; then
    boot "$1" "$2" "$3" "$5"
fi
mounts=$(cgroup_mounts)
enter_cgroups
exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup --propagation private \
    "${BASH_SOURCE[0]}" "$1" "$2" "$3" inside "$mounts"
