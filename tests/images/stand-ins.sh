#!/bin/sh
# Runs a command on a machine with a Docker engine and no image registry: tests/images/stand-ins.sh COMMAND...
# Makes images out of Debian packages that stand for those of docker/.env and names them in the command's environment;
# if pip takes wheels from a folder (its setting find-links), builds get that folder too while the command runs.
#   BASE_IMAGE    one that the engine has, with Python 3.11 on Debian; else it is made, which needs root and debootstrap
#   WHEELS_PORT   by default 8993, on loopback
set -eu
cd "$(dirname "$0")"
if [ $# -eq 0 ]; then
    echo "usage: $0 COMMAND..." >&2
    exit 2
fi
WHEELS_PORT=${WHEELS_PORT:-8993}
export BASE_IMAGE="${BASE_IMAGE:-moderation-stand-in-base}" BUILD_OPTIONS="${BUILD_OPTIONS:---network host}"
export POSTGRES_IMAGE=moderation-stand-in-postgres PROMETHEUS_IMAGE=moderation-stand-in-prometheus
export NGINX_IMAGE=moderation-stand-in-nginx

made=$(mktemp -d)
wheels=
end() {
    [ -z "$wheels" ] || kill "$wheels" 2>/dev/null || true
    rm -rf "$made"
}
trap end EXIT
trap 'exit 130' INT TERM

quietly() { # what, command...: its output only if it fails
    echo "Making a stand-in: $1" >&2
    shift
    "$@" >"$made/log" 2>&1 || { tail -n 30 "$made/log" >&2; exit 1; }
}

if ! docker image inspect "$BASE_IMAGE" >/dev/null 2>&1; then
    quietly "$BASE_IMAGE" debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$made/base"
    # What signs the answers of a proxy of this machine.
    cp /etc/ssl/certs/ca-certificates.crt "$made/base/etc/ssl/certs/"
    tar -C "$made/base" -c . | docker import - "$BASE_IMAGE" >/dev/null
    rm -rf "$made/base"
fi
for name in postgres prometheus nginx; do
    # Word splitting is meant: BUILD_OPTIONS is several arguments.
    quietly "moderation-stand-in-$name" docker build $BUILD_OPTIONS --build-arg "BASE_IMAGE=$BASE_IMAGE" \
        --tag "moderation-stand-in-$name" "$name"
done
folder=$(python3 -m pip config list 2>/dev/null | sed -n "s/^[a-z:]*\.find-links='\([^' ]*\).*/\1/p" | head -n 1)
if [ -z "${FIND_LINKS:-}" ] && [ -d "$folder" ]; then
    # Over HTTP, for a build sees no folder of this machine, and always on the same port, so that layers are found again.
    python3 -u -m http.server --bind 127.0.0.1 --directory "$folder" "$WHEELS_PORT" >"$made/log" 2>&1 &
    wheels=$!
    until grep -q '^Serving' "$made/log"; do
        kill -0 "$wheels" 2>/dev/null || { wheels= && tail -n 1 "$made/log" >&2 && exit 1; }
        sleep 0.1
    done
    # Such wheels are in place of those of torch's own index.
    export FIND_LINKS="http://127.0.0.1:$WHEELS_PORT/" TORCH_BACKEND=
fi
cd "$OLDPWD"
"$@"
