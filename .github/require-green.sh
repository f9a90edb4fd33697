#!/bin/sh
# Ends with 1 unless a commit lies on main and all that main asks for passed on it: require-green.sh OWNER/REPOSITORY COMMIT
# Needs GitHub's `gh` and a checkout with main's history.
set -eu
repository=${1:?"usage: $0 OWNER/REPOSITORY COMMIT"}
commit=${2:?"usage: $0 OWNER/REPOSITORY COMMIT"}
if ! git merge-base --is-ancestor "$commit" origin/main; then
    echo "error: $commit is not on main: tag a commit that was merged" >&2
    exit 1
fi
for job in lint test images; do
    ended=$(gh api "repos/$repository/commits/$commit/check-runs?check_name=$job&filter=latest" \
        --jq '.check_runs[0].conclusion // "not run"')
    if [ "$ended" != success ]; then
        echo "error: $job on $commit: $ended; expected success" >&2
        exit 1
    fi
done
