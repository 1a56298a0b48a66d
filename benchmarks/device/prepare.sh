#!/bin/bash
# On a CPU machine, once, in the root of a checkout: makes .dev/ (ignored by git), which travels to the GPU machine. ~50 MB.
#   bash prepare.sh MSLM_COMMAND DATA_ROOT
set -eu
mslm=$1; data=$2
mkdir -p .dev/whl .dev/data; grep -qx /.dev/ .git/info/exclude 2>/dev/null || echo /.dev/ >> .git/info/exclude
python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 \
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d .dev/whl \
  pydantic==2.14.3 pydantic_core==2.50.4 annotated_types==0.8.0 typing_inspection==0.4.5 typer==0.29.2
cp "$data"/NCBI-disease/{train,devel,test}.tsv.gz .dev/data/
python3 - <<'P'   # MiniLM in fp16: 45 MB instead of 91 (64 MiB may travel); it is loaded as fp32
import shutil, os
from pathlib import Path
from safetensors.torch import load_file, save_file
src = Path(os.environ.get("MSLM_CACHE", Path.home()/".cache/mslm"))/"all-MiniLM-L6-v2"; dst = Path(".dev/minilm"); dst.mkdir(exist_ok=True)
t = load_file(src/"model.safetensors")
save_file({k: v.half() if v.is_floating_point() else v for k, v in t.items()}, dst/"model.safetensors", metadata={"format": "pt"})
for n in ("config.json","tokenizer.json","tokenizer_config.json","vocab.txt"): shutil.copyfile(src/n, dst/n)
P
python3 - "$data" <<'P'   # no document that holds a dev or test sentence of the trials goes into the lexicon or the shards
import gzip, re, sys
from pathlib import Path
data = Path(sys.argv[1]); plain = lambda text: re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
held_out = {plain(" ".join(l.split("\t")[0] for l in block.splitlines())) for n in ("devel", "test")
            for block in gzip.open(data / f"NCBI-disease/{n}.tsv.gz", "rt", encoding="utf-8").read().split("\n\n")}
held_out = [s for s in held_out if s.count(" ") >= 4]
kept = dropped = 0
with gzip.open(".dev/text.txt.gz", "wt", encoding="utf-8") as out:
    for n in ("med1250_abstracts", "pubmedqa_abstracts"):
        for document in gzip.open(data / f"unlabelled/{n}.txt.gz", "rt", encoding="utf-8").read().split("\n\n"):
            words = plain(document)
            if any(s in words for s in held_out): dropped += 1
            else: kept += 1; out.write(document.strip("\n") + "\n\n")
print(f"{kept} documents kept, {dropped} with dev or test sentences dropped")
P
text=${TEXT:-".dev/text.txt.gz $data/NCBI-disease/train.tsv.gz"}; made=$(mktemp -d)
$mslm extract-terms $text --pipeline "${PIPELINE:-biomedical}" -o $made/lexicon
for arm in mslm word; do
  $mslm preprocess $text --model .dev/minilm --lexicon $made/lexicon --strategy $arm --budget 0.25 --dynamic -o $made/shards-$arm
done
for f in $made/shards-mslm/*.arrow; do  # masks are drawn on the device, so both have the same sequences
  cmp -s $f $made/shards-word/${f##*/} && ln -f $f $made/shards-word/${f##*/}
done
tar -C $made -cJf .dev/shards.tar.xz shards-mslm shards-word; rm -r $made   # int32: a seventh of the size
tar -C .dev -cJf .dev/minilm.tar.xz minilm && rm -r .dev/minilm .dev/text.txt.gz
du -s --apparent-size -B 1KiB .dev .dev/*
tree=$(git ls-files -z | xargs -0 du -c --apparent-size -B 1KiB | tail -1 | cut -f1); all=$((tree + $(du -s --apparent-size -B 1KiB .dev | cut -f1)))
[ $all -le $((60 * 1024)) ] || { echo "$all KiB travel with the tree; at most 60 MiB may"; exit 1; }
