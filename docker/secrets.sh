#!/bin/sh
# Makes the secrets of compose.yaml in docker/secrets, those that are not there yet. The folder is for its owner alone;
# the files in it can be read by all, because the processes that get one mounted have an account of their own.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets

random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
keep() { # name, value: never replaces what is there
    if [ -s "secrets/$1.txt" ]; then return; fi
    printf '%s\n' "$2" >"secrets/$1.txt"
    chmod 444 "secrets/$1.txt"
    echo "made docker/secrets/$1.txt"
}

keep postgres_password "$(random 24)"
keep database_url_owner "postgresql://postgres:$(cat secrets/postgres_password.txt)@postgres/moderation"
for role in api monitor tools; do
    keep "database_url_$role" "postgresql://${role}_1:$(random 24)@postgres/moderation"
done
keep moderator_api_key "mod_$(random 6)_$(random 32)"
keep text_hash_key "$(random 24)"
keep grafana_password "$(random 12)"

echo "Next, in docker/: docker compose up -d, then the first reviewer: docker compose run --rm tools reviewers add NAME --role admin"
