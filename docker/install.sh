#!/bin/sh
# Installs files of /requirements into /opt/venv, which it makes if need be; for the Dockerfile.
# install-requirements [--no-deps] FILE...
set -eu
[ -e /opt/venv ] || python3 -m venv --without-pip /opt/venv
deps=
if [ "$1" = --no-deps ]; then deps=$1; shift; fi
for file; do set -- "$@" --requirement "/requirements/$file"; shift; done
exec /opt/uv/bin/uv pip install --python /opt/venv/bin/python --compile-bytecode $deps \
    --constraint /requirements/constraints.txt ${FIND_LINKS:+--find-links "$FIND_LINKS"} \
    ${TORCH_BACKEND:+--torch-backend "$TORCH_BACKEND"} "$@"
