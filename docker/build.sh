#!/bin/sh
# Builds images: docker/build.sh [TARGET...], by default all that runs without a GPU. In the environment:
#   BASE_IMAGE      instead of that of docker/.env, such as one with certificates of yours
#   FIND_LINKS      folder or page with more wheels      TORCH_BACKEND   cpu for a small train image
#   IMAGE_TAG       by default latest                    IMAGE_PREFIX    by default moderation-
#   LAYER_CACHE     folder that keeps layers between machines; needs a BuildKit builder (docker buildx create --use)
#   BUILD_OPTIONS   for docker build, such as "--network host"
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- api moderator monitor tools train
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit=$commit-dirty
base=${BASE_IMAGE:-$(sed -n 's/^BASE_IMAGE=//p' docker/.env)}
for target; do
    printf 'Building moderation-%s ... ' "$target"
    image=${IMAGE_PREFIX:-moderation-}$target:${IMAGE_TAG:-latest}
    log=$(mktemp)
    if [ -n "${LAYER_CACHE:-}" ]; then
        layers="type=local,src=$LAYER_CACHE/$target"
        layers="--cache-from $layers --cache-to type=local,mode=max,dest=$LAYER_CACHE/$target --load"
    fi
    # Word splitting is meant: BUILD_OPTIONS and layers are several arguments.
    if docker build ${BUILD_OPTIONS:-} ${layers:-} --file docker/Dockerfile --target "$target" --tag "$image" \
        --label "org.opencontainers.image.title=moderation-$target" --label "org.opencontainers.image.revision=$commit" \
        --label "org.opencontainers.image.base.name=$base" --build-arg "BASE_IMAGE=$base" \
        --build-arg "GIT_COMMIT=$commit" ${FIND_LINKS:+--build-arg "FIND_LINKS=$FIND_LINKS"} \
        ${TORCH_BACKEND:+--build-arg "TORCH_BACKEND=$TORCH_BACKEND"} . >"$log" 2>&1; then
        docker image inspect "$image" --format '{{.Size}}' | awk '{ printf "%.0f MB\n", $1 / 1e6 }'
        rm "$log"
    else
        printf 'failed; the end of %s:\n' "$log" >&2
        tail -n 30 "$log" >&2
        exit 1
    fi
done
