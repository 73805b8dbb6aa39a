#!/bin/sh
# What `make demo` shows: usermgr at work on an embedded database in a temporary folder.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset USERMGR_DATABASE_URL DATABASE_URL USERMGR_DB_SCHEMA 2>/dev/null || true
export USERMGR_OUTPUT=table

run() {
    printf '\n$ usermgr'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9@:._,/-]*) printf ' "%s"' "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    usermgr "$@"
}

run schema init --database-url sqlite:///usermgr.db
run role create admin
run role create member
run claim create reports:read
run claim create reports:export
run user create --name "Ana Souza" --email Ana@Example.com --role admin --claim reports:read
run user create --name "Bruno Lima" --email bruno@example.com --role member --no-password
run user grant bruno@example.com reports:read reports:export
run user update bruno@example.com --name "Bruno Lima Neto"
run seed --users 5
run user list
run user show ana@example.com
run user history bruno@example.com
