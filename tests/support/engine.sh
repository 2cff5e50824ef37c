#!/usr/bin/env bash
# The tests' own Docker Engine: `start DIR [dockerd flags...]` (prints its DOCKER_HOST),
# `status DIR`, `kill DIR [SIGNAL]`, `stop DIR [--purge]`. See the script behind it.
exec "$(dirname "${BASH_SOURCE[0]}")/../../deploy/private-engine.sh" "$@"
