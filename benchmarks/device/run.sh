#!/bin/bash
# In the repository root on a machine with one GPU and no network; .dev/ (prepare.sh) beside it. OUT: a folder for what comes of it (8 small files).
#   limit: seconds for everything; the trials take what the checks leave.
limit=${LIMIT:-530}; out=${OUT:?}; here=$(dirname "$0")
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 TOKENIZERS_PARALLELISM=false
start=$(date +%s)
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "${SITE:=$PWD/.site}" .dev/whl/*.whl || exit 1
export PYTHONPATH=$PWD:$SITE
for f in shards minilm; do tar -C .dev -xJf .dev/$f.tar.xz & done; wait
{ nvidia-smi -L; nvidia-smi --query-gpu=name,driver_version,clocks.sm,power.limit --format=csv; nproc
  python3 -c "import torch,transformers,numpy,sys;print(sys.version,torch.__version__,transformers.__version__,numpy.__version__)"; } > "$out/env.txt" 2>&1
left() { echo $((limit - $(date +%s) + start)); }
step() { # name, most seconds, command...
  local name=$1 most=$2; shift 2; local l; l=$(left); [ "$l" -lt 15 ] && { echo "skip $name: $l s left" >> "$out/log.txt"; return; }
  local b; b=$(date +%s); timeout $((l < most ? l : most)) "$@" >> "$out/log.txt" 2>&1
  echo "== $name: rc $? after $(($(date +%s)-b)) s, $(left) s left" | tee -a "$out/log.txt"
}
step check 150 python3 "$here/checks.py" equality "$out/check.json"
step waits 60 python3 "$here/checks.py" waits "$out/waits.jsonl"
step bench 240 sh -c "python3 benchmarks/gpu.py --model .dev/minilm ${QUICK:+--quick} --compile --json > $out/gpu.jsonl"
step product 90 python3 "$here/checks.py" product "$out/product.jsonl"
step profile 40 python3 "$here/checks.py" profile "$out/profile.txt"
step trials 600 python3 "$here/checks.py" trials "$out/trials.jsonl"
