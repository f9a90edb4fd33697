#!/bin/sh
# Opens a pull request, or renews the one that is open, with the digests that docker/pin.sh finds; nothing if none changed.
set -eu
said=$(docker/pin.sh)
[ -n "$said" ] || exit 0
git switch --force-create renew-image-pins
git -c user.name=github-actions -c user.email=github-actions@users.noreply.github.com \
    commit --all --message "Renew the digests of images of others" --message "$said"
git push --force origin renew-image-pins
gh pr view renew-image-pins >/dev/null 2>&1 || gh pr create --base main --head renew-image-pins --fill
