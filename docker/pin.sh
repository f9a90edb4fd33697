#!/bin/sh
# Pins the images of docker/.env by what their tags mean today, which needs Docker with buildx: docker/pin.sh
# With --check it changes nothing, and ends with 1 if one is not pinned. Commit what it wrote.
set -eu
cd "$(dirname "$0")"
failed=0
for name in $(sed -n 's/^\([A-Z]*_IMAGE\)=.*/\1/p' .env); do
    now=$(sed -n "s/^$name=//p" .env)
    if [ "${1:-}" != --check ]; then
        tag=${now%@*}
        digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$tag")
        sed -i.before "s|^$name=.*|$name=$tag@$digest|" .env && rm .env.before
        [ "$now" = "$tag@$digest" ] || echo "$name is now $tag@$digest"
    elif ! echo "$now" | grep -qE '@sha256:[0-9a-f]{64}$'; then
        echo "$name=$now in docker/.env has no digest: run docker/pin.sh and commit" >&2
        failed=1
    fi
done
exit $failed
