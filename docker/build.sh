#!/bin/sh
# Builds images: docker/build.sh [TARGET...], by default all that runs without a GPU. In the environment:
#   BASE_IMAGE      instead of the Dockerfile's, such as one with certificates of yours, or pinned by its digest
#   FIND_LINKS      folder or page with more wheels      TORCH_BACKEND   cpu for a small train image
#   IMAGE_TAG       by default latest                    BUILD_OPTIONS   for docker build, such as "--network host"
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- api moderator monitor tools train
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit=$commit-dirty
for target; do
    printf 'Building moderation-%s ... ' "$target"
    log=$(mktemp)
    # Word splitting is meant: BUILD_OPTIONS are several arguments.
    if docker build ${BUILD_OPTIONS:-} --file docker/Dockerfile --target "$target" \
        --tag "moderation-$target:${IMAGE_TAG:-latest}" --build-arg "GIT_COMMIT=$commit" \
        ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} ${FIND_LINKS:+--build-arg "FIND_LINKS=$FIND_LINKS"} \
        ${TORCH_BACKEND:+--build-arg "TORCH_BACKEND=$TORCH_BACKEND"} . >"$log" 2>&1; then
        docker image inspect "moderation-$target:${IMAGE_TAG:-latest}" --format '{{.Size}}' |
            awk '{ printf "%.0f MB\n", $1 / 1e6 }'
        rm "$log"
    else
        printf 'failed; the end of %s:\n' "$log" >&2
        tail -n 30 "$log" >&2
        exit 1
    fi
done
