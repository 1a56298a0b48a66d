#!/usr/bin/env bash
# Build the packaged mention detector again, on one CPU thread:
#
#     recipes/detector/build.sh DATA WORK      (from the repository root, in the environment that has mslm)
#
# DATA holds the public corpora, WORK takes some 100 MB. It needs floret besides: pip install floret==0.10.5
# A step whose output is in WORK is not done again.
set -euo pipefail
data=$1 work=$2
here=$(dirname "$0")
export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore PYTHONHASHSEED=0

train() { # NAME TRAINING_SET EPOCHS
    [ -e "$work/$1/done" ] && return
    python -m spacy train "$here/config.cfg" --code "$here/tokens.py" --output "$work/$1" --training.max_epochs "$3" \
        --paths.train "$work/$2.spacy" --paths.dev "$work/devel.spacy" --paths.vectors "$work/vectors"
    touch "$work/$1/done"
}

[ -e "$work/vectors.floret" ] || python "$here/vectors.py" "$data" "$work"
[ -e "$work/vectors" ] || python -m spacy init vectors en "$work/vectors.floret" "$work/vectors" --mode floret --attr LOWER
[ -e "$work/union.spacy" ] || python "$here/prepare.py" split "$data" "$work"
train Disease Disease 4
train Chemical Chemical 5
train Gene Gene 4
train Anatomy Anatomy 5
train Species Species 2
[ -e "$work/completed.spacy" ] || python "$here/prepare.py" complete "$work"
train detector completed 5
python "$here/package.py" "$work/detector/model-last" resources/detector 0.5
