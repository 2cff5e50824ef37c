#!/usr/bin/env bash
# The root file system of mayflyd's image: one program, and what it needs to run on its own.
#
#   deploy/image-root.sh PROGRAM FOLDER    makes FOLDER/rootfs (root)
#
# In it: the program as /usr/bin/mayflyd without its debug information, the shared libraries and
# the loader that ldd names, the user mayfly with its data directory, and CA certificates. Of each
# Debian package that something was taken from, also its copyright file, and its record in
# var/lib/dpkg/status.d, where image scanners look. No shell and no other program.
#
# The same program and packages give the same bytes: every time is SOURCE_DATE_EPOCH (default 0),
# and owners and modes are set here and not taken from who builds.
set -euo pipefail

user=65532 # "nonroot" of many images without a distribution; compose.yaml and the tests say it too
certificates=/etc/ssl/certs/ca-certificates.crt
epoch=${SOURCE_DATE_EPOCH:-0}

die() {
    echo "image-root: $*" >&2
    exit 1
}

if [ $# -ne 2 ]; then
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit 2
fi
program=$1
rootfs=$2/rootfs
[ "$(id -u)" -eq 0 ] || die "needs root, for the owners of files"
[ -x "$program" ] || die "no program $program"
[ -s "$certificates" ] || die "no $certificates (package ca-certificates)"

add() { # $1 = file of this host, which keeps its path
    mkdir -p "$rootfs$(dirname "$1")"
    cp -L "$1" "$rootfs$1"
}

# The packages that the given files are of. Debian's files are found under both of their names,
# /lib and /usr/lib, but dpkg knows only the one in the package.
packages_owning() {
    local file found paths
    found=$(for file in "$@"; do printf '%s\n' "$file" "/usr$file" "${file#/usr}"; done |
        xargs dpkg-query -S 2>/dev/null || true)
    paths=$(sed 's/.*: //' <<<"$found")
    for file in "$@"; do
        grep -qxF -e "$file" -e "/usr$file" -e "${file#/usr}" <<<"$paths" ||
            die "no package owns $file"
    done
    sed 's/[:,].*//' <<<"$found" | sort -u
}

# One call for all packages, since each reads dpkg's whole database.
add_records() {
    local package
    mkdir -p "$rootfs/var/lib/dpkg/status.d"
    dpkg-query -s "$@" |
        awk -v folder="$rootfs/var/lib/dpkg/status.d" '
            /^Package: / { file = folder "/" $2 }
            { print >file }'
    for package in "$@"; do
        [ -s "$rootfs/var/lib/dpkg/status.d/$package" ] || die "no record of $package"
        add "/usr/share/doc/$package/copyright"
    done
}

# "name => path (address)", and the loader as "path (address)". The kernel's vdso has no path.
libraries_of() {
    ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\) (.*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | sort -u
}

rm -rf "$rootfs"
mkdir -p "$rootfs"/{etc,tmp,usr/bin,var/lib/mayfly}
case "$(ldd "$program")" in
*"not found"*) die "$program lacks libraries here: $(ldd "$program")" ;;
esac
strip --strip-debug -o "$rootfs/usr/bin/mayflyd" "$program"
libraries=$(libraries_of "$program")
for library in $libraries; do add "$library"; done
# shellcheck disable=SC2086
packages=$(packages_owning $libraries)
# shellcheck disable=SC2086
add_records $packages ca-certificates
add "$certificates"

printf 'root:x:0:0:root:/:/sbin/nologin\nmayfly:x:%s:%s:mayflyd:/var/lib/mayfly:/sbin/nologin\n' \
    $user $user >"$rootfs/etc/passwd"
printf 'root:x:0:\nmayfly:x:%s:\n' $user >"$rootfs/etc/group"
# A name on the compose network is asked of the engine's DNS, after /etc/hosts.
echo 'hosts: files dns' >"$rootfs/etc/nsswitch.conf"

chown -R 0:0 "$rootfs"
chmod -R u=rwX,go=rX "$rootfs"
chmod 1777 "$rootfs/tmp"
# Docker gives a fresh volume the owner and mode of the folder that it is mounted on.
chown $user:$user "$rootfs/var/lib/mayfly"
chmod 0700 "$rootfs/var/lib/mayfly"
find "$rootfs" -exec touch -h -d "@$epoch" {} +
