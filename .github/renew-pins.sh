#!/bin/sh
# Opens a pull request, or renews the one that is open, with the digests that docker/pin.sh finds; nothing if none changed.
# The repository's settings must let jobs open pull requests: docs/ci.md.
set -eu
said=$(docker/pin.sh)
[ -n "$said" ] || exit 0
git switch --force-create renew-image-pins
git -c user.name=github-actions -c user.email=github-actions@users.noreply.github.com \
    commit --all --message "Renew the digests of images of others" --message "$said"
git push --force origin renew-image-pins
open=$(gh pr list --head renew-image-pins --state open --json number --jq length)
[ "$open" != 0 ] || gh pr create --base main --head renew-image-pins --fill
