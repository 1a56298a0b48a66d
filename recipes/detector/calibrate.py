"""Devel scores of a detector that leans to recall more and more: ``python calibrate.py MODEL DATA [SHIFT ...]``."""

import sys
from pathlib import Path
from statistics import fmean

import spacy
from scoring import scored_corpora, scores
from spacy.language import Language

SHIFTS = (0.0, 0.5, 1.0, 1.5)


def lean_to_recall(nlp: Language, shift: float) -> None:
    """Take ``shift`` from the score of the action that passes over a word, so that more mentions are begun."""
    ner = nlp.get_pipe("ner")
    (outside,) = (i for i in range(ner.moves.n_moves) if ner.moves.get_class_name(i) == "O")
    upper = ner.model.get_ref("upper")
    bias = upper.get_param("b").copy()
    bias[outside] -= shift
    upper.set_param("b", bias)


def main(model: Path, data: Path, shifts: tuple[float, ...]) -> None:
    """Print, for each shift, the scores on every devel split."""
    devel = list(scored_corpora(data, "devel"))
    for shift in shifts:
        nlp = spacy.load(model)
        lean_to_recall(nlp, shift)
        rows = [row for corpus, passages in devel for row in scores(nlp, corpus, passages)]
        for row in rows:
            shares = (row[key] for key in ("precision", "recall", "f1", "found_exact", "found_overlapping"))
            print(shift, row["corpus"], row["type"], *(f"{100 * share:.2f}" for share in shares), sep="\t", flush=True)
        print(shift, "mean F1", f"{100 * fmean(row['f1'] for row in rows):.2f}", sep="\t", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), tuple(map(float, sys.argv[3:])) or SHIFTS)
