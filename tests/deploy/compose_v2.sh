#!/usr/bin/env bash
# Prints the path of a Docker Compose v2, which Debian 12 does not have: that of Debian 13, fetched
# from the same mirror as this host's packages, unpacked under build/tools and not installed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder="$root/build/tools/compose-v2"
program="$folder/usr/libexec/docker/cli-plugins/docker-compose"

die() {
    echo "compose-v2: $*" >&2
    exit 1
}

if [ ! -x "$program" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' | awk '$2 == "bookworm" && $3 == "main" {print $1; exit}')
    [ -n "$mirror" ] || die "this host has no mirror of Debian 12"
    stage=$(mktemp -d)
    trap 'rm -rf "$stage"' EXIT
    mkdir -p "$stage"/{lists,cache}/partial "$folder"
    chmod 0755 "$stage"
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$key] $mirror trixie main" >"$stage/sources.list"
    # A list of sources, a cache and a state of its own: this host's apt notices nothing.
    apt=(apt-get -q -o "Dir::Etc::SourceList=$stage/sources.list" -o Dir::Etc::SourceParts=-
        -o "Dir::State::Lists=$stage/lists" -o "Dir::Cache=$stage/cache"
        -o APT::Sandbox::User=root)
    echo "compose-v2: fetching it" >&2
    (cd "$stage" && "${apt[@]}" update && "${apt[@]}" download docker-compose/trixie) \
        >"$stage/log" 2>&1 || die "cannot fetch it: $(tail -n 3 "$stage/log")"
    dpkg-deb -x "$stage"/docker-compose_2*.deb "$folder"
fi
"$program" version >/dev/null || die "$program does not run here"
echo "$program"
