#!/usr/bin/env bash
# Where the cloud refuses a type of machine (no capacity, no quota), Ray 2.60 asks for the same one again and again. After
# this the autoscaler of this machine asks for the next one by priority, and comes back to the refused one within ten
# minutes, as it does by itself with one that was given and never came up. Run again, it changes nothing; where Ray is
# another one than the patch was made for, it says so and changes nothing either.
set -euo pipefail
patch=$(dirname "$(realpath "$0")")/refused.patch
ray=$(python -c 'import importlib.util; print(importlib.util.find_spec("ray").submodule_search_locations[0])')
command -v patch >/dev/null || sudo apt-get -o DPkg::Lock::Timeout=300 install -qy patch
apply() { patch --directory "$ray" --strip 1 --silent --force --fuzz=0 --reject-file=- --no-backup-if-mismatch "$@" <"$patch"; }
apply --reverse --dry-run >/dev/null && exit 0
if ! apply --dry-run >/dev/null; then
    echo "$patch must fit Ray's autoscaler in $ray, but does not: is it Ray 2.60.0?" >&2
    exit 1
fi
apply
