#!/usr/bin/env bash
# The whole chain on the NCBI disease corpus: a vanilla arm and an mslm arm, three seeds each, beside a plain
# transformers Trainer. Needs the public data sets; takes about two hours on 2 CPU cores, and goes on where it
# was stopped when it is run again.
#
#   benchmarks/ncbi_disease.sh [OUT]                 OUT: where artifacts go (default: ncbi-disease-run)
#   DATA=... SEEDS="1 2 3" MSLM=mslm PYTHON=python   overrides
#
# The test split is touched by `mslm eval` alone. The lexicon, the shards and the adaptation see the training
# split and unlabelled abstracts.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
DATA=${DATA:-$here/../../shared/data}
MSLM=${MSLM:-mslm}
PYTHON=${PYTHON:-python}
SEEDS=${SEEDS:-1 2 3}
out=${1:-ncbi-disease-run}
ncbi=$DATA/NCBI-disease
text=("$ncbi/train.tsv.gz" "$DATA/unlabelled/med1250_abstracts.txt.gz" "$DATA/unlabelled/pubmedqa_abstracts.txt.gz")
mkdir -p "$out"

$MSLM extract-terms "${text[@]}" -o "$out/lexicon"
$MSLM preprocess "${text[@]}" --lexicon "$out/lexicon" --strategy mslm -o "$out/shards"
$MSLM adapt "$out/shards" --weights ratio:2 --epochs 1 --seed 1 -o "$out/adapted"

for seed in $SEEDS; do
  for arm in vanilla mslm; do
    model=minilm
    [ "$arm" = mslm ] && model=$out/adapted
    $MSLM finetune --train "$ncbi/train.tsv.gz" --dev "$ncbi/devel.tsv.gz" --model "$model" \
      --epochs 5 --learning-rate 2e-4 --seed "$seed" -o "$out/ner-$arm-$seed"
    $MSLM eval "$out/ner-$arm-$seed" --data "$ncbi/test.tsv.gz" -o "$out/scores-$arm-$seed"
  done
done

if [ ! -f "$out/trainer.json" ]; then
  minilm=$($MSLM models pull minilm)
  # shellcheck disable=SC2086
  HF_HUB_OFFLINE=1 $PYTHON "$here/hf_trainer_ner.py" --data "$ncbi" --model "$minilm" --seeds $SEEDS \
    --epochs 5 --learning-rate 2e-4 -o "$out/trainer.json"
fi
$PYTHON "$here/ncbi_disease_table.py" "$out"
