#!/usr/bin/env bash
# Follows the Dockerfile step by step in a clean root instead of a container, where there is no Docker or no registry.
# Usage, as the superuser: tools/clean_root.sh ROOT ['COMMAND && COMMAND']; without it the Dockerfile's own.
#
# ROOT is what FROM stands for: a folder with Debian bookworm and, in /usr/local, Python 3.11 with pip, e.g. debootstrap
# --variant=minbase bookworm ROOT; /proc and /dev are to be mounted there, and its apt and pip must reach their sources.
# What is copied is what is committed, less .dockerignore. ROOT keeps all that was done, as a container's layers would.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$1; shift
user=root folder=/ context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
git clone --quiet "file://$PWD" "$context/study"
cp Dockerfile .dockerignore "$context"

# Docker's patterns are of the context's root, unless they begin with **/.
ignored=(--no-wildcards-match-slash) kept=()
while read -r pattern; do
    case $pattern in
        '' | '#'*) ;;
        '!'*) kept+=("./${pattern#!}") ;;
        '**/'*) ignored+=(--no-anchored "--exclude=${pattern#\*\*/}") ;;
        *) ignored+=(--anchored "--exclude=./$pattern") ;;
    esac
done <"$context/.dockerignore"
mkdir "$context/sent"
tar -C "$context/study" "${ignored[@]}" -cf - . | tar -xf - -C "$context/sent"
if [ ${#kept[@]} -gt 0 ]; then tar -C "$context/study" -cf - "${kept[@]}" | tar -xf - -C "$context/sent"; fi

inside() { # as USER in WORKDIR, with an environment of nothing but what the base image sets
    local home; home=$(chroot "$root" getent passwd "$user" | cut -d: -f6)
    chroot --userspec="$user:$(chroot "$root" id -g "$user")" --groups= "$root" env -i \
        PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME="$home" sh -c "cd '$folder' && $1"
}
copied() { # [--chown=USER] SOURCE... TARGET; of a folder, Docker copies what is in it
    local owner=root source target=${*: -1}
    if [[ $1 == --chown=* ]]; then owner=${1#--chown=}; shift; fi
    [ -d "$root$folder/$target" ] || chroot "$root" install -d -o "$owner" -g "$owner" "$folder/$target"
    for source in "${@:1:$#-1}"; do
        set -- -C "$context/sent" "$source"
        if [ -d "$context/sent/$source" ]; then set -- -C "$context/sent/$source" .; fi
        tar --owner="$(chroot "$root" id -u "$owner")" --group="$(chroot "$root" id -g "$owner")" -cf - "$@" |
            tar -xf - --same-owner --numeric-owner --no-overwrite-dir -C "$root$folder/$target"
    done
}

command=()
while read -r -u 3 word rest; do
    echo "[clean root] $word $rest" >&2
    case $word in
        FROM) chroot "$root" python3 -c 'import sys; assert sys.version_info[:2] == (3, 11), sys.version' ;;
        RUN) inside "$rest" ;;
        USER) user=$rest ;;
        WORKDIR) folder=$rest && chroot "$root" mkdir -p "$folder" ;; # the superuser's, as with some builders
        COPY) read -ra words <<<"$rest" && copied "${words[@]}" ;;
        CMD) mapfile -t command < <(python3 -c 'import json, sys; print(*json.loads(sys.argv[1]), sep="\n")' "$rest") ;;
        *) echo "clean_root.sh: $word is not known here" >&2; exit 2 ;;
    esac
done 3< <(sed -e '/^#/d' "$context/Dockerfile" | sed -e ':a' -e '/\\$/{N;s/\\\n *//;ba' -e '}')
if [ $# -gt 0 ]; then command=("$@"); fi
echo "[clean root] ${command[*]}" >&2
inside "${command[*]}"
