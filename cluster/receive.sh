#!/usr/bin/env bash
# What `submit` runs on a cluster's head to put a series into the results folder: whole, or not at all.
#   STEP ask: is it there? else a folder beside the stages is made ready for what is sent
#   STEP publish: what was sent is checked against its digests, and renamed into place
#   STEP note: the series is in an object store
# Either way, once it is there, the dataset's YAML is written that names it. The last line is the answer.
set -euo pipefail
step=$1 root=$2 series=$3 sender=$4 dataset=$5 yaml=$6
place=$root/stages/series/$series
aside=$root/sending/$series-$sender

is_there() { [ -f "$place/manifest.json" ]; }

note() {
  mkdir -p "$(dirname "$dataset")"
  printf '%s' "$yaml" > "$dataset.$sender"
  mv "$dataset.$sender" "$dataset"
  echo "there"
}

if [ "$step" = note ]; then
  note
  exit
fi

if [ -s "$root/store.url" ]; then
  echo "elsewhere"
  exit
fi

if [ "$step" = publish ] && ! is_there; then
  cd "$aside"
  sha256sum --check --strict --quiet SHA256SUMS
  rm SHA256SUMS
  sync ./*
  mkdir -p "$root/stages/series"
  # without a manifest it counts for nothing: what is left of somebody who wanted to make it here, and could not
  if [ -e "$place" ]; then mv -T "$place" "$root/sending/left-$series-$sender"; fi
  mv -T "$aside" "$place"
  sync "$root/stages/series"
fi

if is_there; then
  cd "$root"
  rm -rf "$aside" "sending/left-$series-$sender"
  if [ -d sending ]; then rmdir --ignore-fail-on-non-empty sending; fi
  note
else
  mkdir -p "$aside"
  find "$root/sending" -mindepth 1 -maxdepth 1 -mtime +7 ! -path "$aside" -exec rm -rf {} +
  echo "free $(($(df -Pk "$aside" | awk 'NR == 2 { print $4 }') * 1024))"
fi
