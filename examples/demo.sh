#!/bin/sh
# The main job on a synthetic checkpoint in the release's format: make one, check it, look into it,
# cut it for 8 ranks, merge the ranks again, and compare with what it was cut from.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
step() { printf '\n$ %s\n' "$*"; "$@"; }

step grokpack synth "$work/model" --preset tiny --progress none
step grokpack verify "$work/model" --values --progress none
step grokpack inspect "$work/model"
step grokpack inspect "$work/model" decoder_layer_1/moe/linear_1/w --offsets
step grokpack reshard "$work/model" --tp 8 -o "$work/model-tp8" --dry-run
step grokpack reshard "$work/model" --tp 8 -o "$work/model-tp8" --progress none
step grokpack verify "$work/model-tp8"
step grokpack reshard "$work/model-tp8" --tp 8 --to ckpt-0 -o "$work/merged" --progress none

printf '\n$ diff -r model/ckpt-0 merged/ckpt-0\n'
diff -r "$work/model/ckpt-0" "$work/merged/ckpt-0"
echo "identical, byte for byte"

printf '\nand a damaged file:\n'
dd if=/dev/zero of="$work/merged/ckpt-0/tensor00003_000" bs=1 count=0 seek=1000 2>/dev/null
printf '\n$ grokpack verify merged\n'
if grokpack verify "$work/merged"; then exit 1; else echo "exit status $?"; fi
