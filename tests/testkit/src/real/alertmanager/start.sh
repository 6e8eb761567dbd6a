#!/bin/sh
# Starts Debian's alertmanager, which looks for its templates where its package would have put them: in a
# namespace of its own they are there.
#
#   unshare --map-root-user --mount start.sh TEMPLATES PROGRAM ARGUMENT…
set -eu
readonly PLACE=/usr/share/prometheus/alertmanager
mount -t tmpfs none /usr/share
mkdir -p "$PLACE"
cp "$1"/*.tmpl "$PLACE"
shift
exec "$@"
