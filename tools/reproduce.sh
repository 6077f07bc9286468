#!/usr/bin/env bash
# Runs the whole study in an empty folder and a fresh environment, verifies it and writes REPRODUCTION.md here.
# Usage: tools/reproduce.sh STUDY [FOLDER]; without FOLDER a new one under /tmp, which stays for inspection.
set -euo pipefail
cd "$(dirname "$0")/.."
unset MAKEFLAGS MFLAGS MAKELEVEL # of the make that called: the copy is built on its own
study=$1
folder=${2:-$(mktemp -d -t reproduce-XXXXXX)}
origin=$PWD
mkdir -p "$folder"
[ -z "$(ls -A "$folder")" ] || { echo "make reproduce: $folder is not empty; name another with REPRODUCE_DIR=" >&2; exit 2; }
steps=$folder/steps.tsv
copy=$folder/study

step() { # name, command as shown; runs the rest of the arguments
    local name=$1 shown=$2 before=$SECONDS
    shift 2
    echo "[reproduce] $name: $shown" >&2
    "$@"
    printf '%s\t%s\t%s\n' "$name" "$((SECONDS - before))" "$shown" >>"$steps"
}
unpacked() { mkdir -p "$copy" && tar --exclude=./.venv --exclude=./.tools --exclude=./build --exclude=./data --exclude='./figures/*/*' \
    -cf - . | tar -xf - -C "$copy"; }

# Only what is committed is cloned: a change that was forgotten shows here and not at the reviewer's.
if [ "$(git rev-parse --show-toplevel 2>/dev/null || true)" = "$PWD" ]; then
    step "clone" "git clone" git clone --quiet "file://$origin" "$copy"
else
    step "unpack" "copy of the unpacked archive" unpacked
fi
cd "$copy"
step "install" "make env" make env
step "run" "make study STUDY=$study" make study "STUDY=$study"
verdict=0
step "verify" "make verify STUDY=$study" make verify "STUDY=$study" || verdict=1
.venv/bin/python -m analysis_lib certificate --study "$study" --steps "$steps" \
    --checker "${CHECKER:-$(git config user.name 2>/dev/null || true)}" --out "$origin/REPRODUCTION.md" || verdict=1
echo "[reproduce] certificate: REPRODUCTION.md; the copy stays in $copy" >&2
exit $verdict
