#!/bin/sh
# Stands in for login_duo in the tests of `fake-duo demo`: called as `-c CONFIG WHAT`.
[ "$1" = -c ] && grep -q '^ikey = ' "$2" || exit 99
case $3 in
    tell) echo "$2"; echo "$SSH_CONNECTION"; shift 3; printf '%s\n' "$@"; exit 7 ;;
    wait) trap 'kill $!; exit 9' TERM; sleep 60 >/dev/null 2>&1 & echo waiting; wait ;;
    die) kill -KILL $$ ;;
esac
