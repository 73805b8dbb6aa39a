#!/bin/sh
# What `make demo` runs: a first tour on an embedded database in a temporary folder.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset USERMGR_DATABASE_URL DATABASE_URL USERMGR_DB_SCHEMA USERMGR_OUTPUT
export USERMGR_DATABASE_URL=sqlite:///demo.db

# Shows a command line as it would be typed, and runs it.
run() {
    printf '\n$'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9@._,/=-]*) printf ' "%s"' "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

run usermgr schema init

run usermgr role create administrator
run usermgr role create editor
run usermgr claim create articles:write
run usermgr claim create articles:publish

run usermgr user create --name "Ada Lovelace" --email ada@example.org \
    --role administrator --claim articles:write --claim articles:publish
run usermgr user create --name "Grace Hopper" --email grace@example.org \
    --role editor --claim articles:write --no-password
run usermgr user create --name "José Álvarez" --email jose@example.org \
    --role editor --inactive --no-password

run usermgr user list --fields id,name,email,role,claims,active
run usermgr user list --role editor --search hopper -o json
run usermgr user show ada@example.org
run usermgr user history ada@example.org
