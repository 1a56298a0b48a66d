"""Small documents with relations, in words that tiny encoders know: CID if a drug induced a disease."""

import random
from pathlib import Path

DRUGS = {"aspirin": "D1", "warfarin": "D2"}
DISEASES = {"heart failure": "M1", "diabetes mellitus": "M2", "renal toxicity": "M3", "breast cancer": "M4"}


FINETUNE = (
    "finetune --task relations --train train.pubtator --dev dev.pubtator --model encoder --epochs 2"
    " --learning-rate 0.02 --tokens-per-step 256 --threads 1"
)
"""Learns what there is to learn."""


def pubtator(n: int, seed: int) -> str:
    """``n`` documents of a title and two sentences; in each sentence a drug either induced a disease or not."""
    rng = random.Random(seed)
    return "\n".join(_document(rng, f"{seed}{number:03}") for number in range(n))


def _document(rng: random.Random, id_: str) -> str:
    title = f"study {rng.randrange(1000)} of patients ."
    text, mentions, relations = "", [], {}
    for drug, disease in zip(rng.sample(list(DRUGS), 2), rng.sample(list(DISEASES), 2), strict=True):
        is_related = rng.random() < 0.5
        parts = [(drug, "Chemical"), ("induced" if is_related else "therapy for", ""), (disease, "Disease")]
        for part, kind in [*parts, (f"after {rng.randrange(99)} days .", "")]:
            start = len(title) + 1 + len(text)
            text += f"{part} "
            if kind:
                concept = (DRUGS | DISEASES)[part]
                mentions.append(f"{id_}\t{start}\t{start + len(part)}\t{part}\t{kind}\t{concept}")
        if is_related:
            relations[f"{id_}\tCID\t{DRUGS[drug]}\t{DISEASES[disease]}"] = None
    return "\n".join([f"{id_}|t|{title}", f"{id_}|a|{text.rstrip()}", *mentions, *relations]) + "\n"


def write(folder: Path) -> None:
    """Write {train,dev,test}.pubtator."""
    for number, (name, n) in enumerate((("train", 40), ("dev", 15), ("test", 15)), 1):
        (folder / f"{name}.pubtator").write_text(pubtator(n, number))


def write_brat(folder: Path) -> None:
    """Write the folders train, dev and test of BRAT files, whose relations are called Causes."""
    for number, (name, n) in enumerate((("train", 20), ("dev", 8), ("test", 8)), 1):
        (folder / name).mkdir()
        for i, block in enumerate(pubtator(n, number).strip().split("\n\n")):
            title, abstract, *rows = block.splitlines()
            text = f"{title.split('|', 2)[2]}\n{abstract.split('|', 2)[2]}"
            ids: dict[str, str] = {}
            lines = []
            for cells in (row.split("\t") for row in rows):
                if len(cells) == 6:
                    ids[cells[5]] = f"T{len(ids) + 1}"
                    kind = cells[4].replace("Chemical", "Drug")
                    lines.append(f"{ids[cells[5]]}\t{kind} {cells[1]} {cells[2]}\t{cells[3]}")
                else:
                    lines.append(f"R{i}\tCauses Arg1:{ids[cells[2]]} Arg2:{ids[cells[3]]}")
            (folder / name / f"doc{i}.txt").write_text(text)
            (folder / name / f"doc{i}.ann").write_text("\n".join(lines) + "\n")
