#!/usr/bin/env bash
# Builds .venv from requirements.lock. Called by make; a second call is never made unless the lock changed.
#
# Needs nothing but a shell, a way to PyPI, and any Python 3 with pip (only to fetch uv, if uv is not there).
# uv then finds or fetches Python 3.11; where there is no C compiler, zig (a wheel) compiles pyradiomics.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'make env: %s\n' "$*" >&2; exit 1; }
say() { printf '[env] %s\n' "$*" >&2; }

# Hospital and company networks often have a certificate of their own in the system's store; uv looks there only if told.
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then export UV_SYSTEM_CERTS=1; fi

# --- uv ------------------------------------------------------------------------------------------------
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    uv=$PWD/.tools/bin/uv
    if [ ! -x "$uv" ]; then
        installer=
        for candidate in python3 python3.13 python3.12 python3.11 python3.10 python3.9 python; do
            # ensurepip counts too: it gives a throw-away venv its pip
            if "$candidate" -m pip --version >/dev/null 2>&1; then installer="$candidate -m pip"; break; fi
            if "$candidate" -m venv .tools/boot >/dev/null 2>&1; then installer=".tools/boot/bin/python -m pip"; break; fi
        done
        [ -n "$installer" ] || die "no Python with pip and no uv found; install python3-pip (or python3-venv, or uv) and run again"
        say "fetching uv"
        $installer install --quiet --disable-pip-version-check --no-deps --require-hashes --target .tools \
            -r tools/uv.lock || die "uv could not be fetched from PyPI; check the network or proxy, or install uv, and run again"
    fi
fi

# --- Python 3.11 with its C headers ----------------------------------------------------------------------
headers='import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
python=$("$uv" python find --no-project --system 3.11 2>/dev/null || true)
if [ -z "$python" ] || ! "$python" -c "$headers" 2>/dev/null; then
    say "no Python 3.11 with headers on this machine; uv fetches one"
    "$uv" python install --quiet 3.11 ||
        die "Python 3.11 could not be fetched; install python3.11 and python3.11-dev and run again"
    python=$("$uv" python find --no-project --managed-python 3.11)
fi
"$uv" venv --quiet --clear --python "$python" .venv

# --- everything but pyradiomics, by hash ------------------------------------------------------------------
# pyradiomics' setup.py imports numpy and versioneer, so it comes second, built without isolation.
first=.venv/first.lock second=.venv/second.lock
awk -v first="$first" -v second="$second" \
    '/^[A-Za-z0-9]/ { out = /^pyradiomics==/ ? second : first } { print > (out ? out : first) }' requirements.lock
say "installing $(grep -c '^[A-Za-z0-9]' "$first") packages"
export VIRTUAL_ENV=$PWD/.venv
"$uv" pip install --quiet --require-hashes --no-deps -r "$first" ||
    die "packages could not be installed; check the network or proxy and run again"

# --- pyradiomics, compiled ---------------------------------------------------------------------------------
# A compiler without the C library's headers, as of a lean image, is none. CC is named, since the one that Python was
# built with need not be here. Not quoted: CC may hold options.
probe=.venv/probe
if printf '#include <math.h>\nint main(void) { return 0; }\n' | ${CC:-cc} -x c - -o "$probe" >/dev/null 2>&1; then
    rm -f "$probe"
    export CC=${CC:-cc}
else
    say "no C compiler; using zig"
    "$uv" pip install --quiet --require-hashes --no-deps -r tools/zig.lock --target .tools ||
        die "neither a C compiler nor the ziglang wheel can be had; install gcc and run again"
    mkdir -p .tools/bin
    for name in cc ldshared; do
        shared=; [ "$name" = ldshared ] && shared=-shared
        printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s" -m ziglang cc %s "$@"\n' "$PWD/.tools" "$PWD/.venv/bin/python" "$shared" \
            >".tools/bin/zig-$name"
        chmod +x ".tools/bin/zig-$name"
    done
    # in quotes of their own, because the folder's name may hold a blank
    export CC="'$PWD/.tools/bin/zig-cc'" LDSHARED="'$PWD/.tools/bin/zig-ldshared'"
fi
say "compiling pyradiomics"
"$uv" pip install --quiet --require-hashes --no-deps --no-build-isolation --no-binary pyradiomics -r "$second" ||
    die "pyradiomics did not compile; install gcc and run again"

"$uv" pip install --quiet --no-deps --no-build-isolation -e .
.venv/bin/python -c 'import analysis_lib, radiomics' || die "the environment does not import; run make distclean and try again"

# Bytecode of all packages, once and on all cores: where Python may not write it later (container images set
# PYTHONDONTWRITEBYTECODE), each kernel and worker would compile TensorFlow anew. A file that Python does not accept, as
# some packages bring for their own tests, is no fault.
say "compiling Python modules"
.venv/bin/python -m compileall -qq -j 0 .venv/lib || true
say "ready"
