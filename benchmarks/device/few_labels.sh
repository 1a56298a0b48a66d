#!/bin/bash
# few_labels.py on a machine with one GPU and no network, in two calls on it while it stays warm: each carries 64 MiB at most.
#   bash few_labels.sh pack FOLDER            here: FOLDER from few_labels_data.py, .dev/whl from prepare.sh; makes .dev/*.tar.xz
#   bash few_labels.sh unpack                 there, with .dev/whl, .dev/minilm.tar.xz and .dev/data.tar.xz
#   OUT=... bash few_labels.sh run SECONDS    there, with .dev/shards.tar.xz and .dev/cache; the adapted encoder comes back as mslm.part-*
set -eu
there=${THERE:-/dev/shm/few-labels}; here=$(dirname "$0")
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1
case $1 in
pack)
  for f in "$2"/shards-mslm/*.arrow; do  # masks are drawn on the device, so both have the same sequences
    cmp -s "$f" "$2/shards-word/${f##*/}" && ln -f "$f" "$2/shards-word/${f##*/}"
  done
  for f in minilm data; do tar -C "$2" -cJf .dev/$f.tar.xz $f; done
  tar -C "$2" -cJf .dev/shards.tar.xz shards-mslm shards-word
  mkdir -p .dev/cache; cp "${MSLM_CACHE:-$HOME/.cache/mslm}"/english-rules-*.json .dev/cache/  # there is no spaCy there
  ls -l .dev/*.tar.xz;;
unpack)
  mkdir -p "$there/pack"
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$there/site" .dev/whl/*.whl
  for f in minilm data; do tar -C "$there/pack" -xJf .dev/$f.tar.xz & done; wait
  nvidia-smi -L;;
run)
  export PYTHONPATH=$PWD:$there/site SCRATCH=$there MSLM_CACHE=$PWD/.dev/cache
  tar -C "$there/pack" -xJf .dev/shards.tar.xz
  python3 "$here/few_labels.py" "$there/pack" "$OUT" "$2" > "$there/log" 2>&1 || tail -5 "$there/log"
  grep -i -A12 traceback "$there/log" | head -30 || true
  made=$there/few-labels/encoders/mslm__0.0_0
  cp "$made/metrics.jsonl" "$OUT/mslm-metrics.jsonl"
  python3 - "$made" "$there" <<'P'   # in half precision: half as large
import sys
from safetensors.torch import load_file, save_file
weights = load_file(f"{sys.argv[1]}/model.safetensors")
half = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
save_file(half, f"{sys.argv[2]}/mslm.safetensors", metadata={"format": "pt"})
P
  split -b 15M "$there/mslm.safetensors" "$OUT/mslm.part-";;
esac
