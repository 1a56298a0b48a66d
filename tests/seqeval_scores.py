"""What seqeval says of tags, in the form of our scores, for tests that compare the two."""

import random
import warnings
from collections.abc import Sequence
from typing import Any

from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from mslm_cli.evaluation.spans import TagMode

Tags = list[list[str]]


def seqeval_report(gold: Tags, predicted: Tags, reading: TagMode, scheme: type = IOB2) -> dict[str, Any]:
    """The report of seqeval in one of its modes (``strict`` with ``scheme``)."""
    options = {"mode": "strict", "scheme": scheme} if reading == "strict" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shares that are undefined, which are 0 on both sides
        report: dict[str, Any] = classification_report(gold, predicted, output_dict=True, **options)
    return report


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every share of every type and average to 1e-12, every support to the last count."""
    rows = {**ours["per_type"], "micro avg": ours, "macro avg": ours["macro"], "weighted avg": ours["weighted"]}
    assert rows.keys() == theirs.keys()
    for name, row in rows.items():
        assert "gold" not in row or row["gold"] == theirs[name]["support"]
        for share, other in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert abs(row[share] - theirs[name][other]) < 1e-12, (name, share)


def with_noise(gold: Sequence[Sequence[str]], rng: random.Random, rate: float) -> Tags:
    """The tags with a share ``rate`` of them drawn anew from all that there are: orphans, cut and merged mentions."""
    known = sorted({tag for sentence in gold for tag in sentence})
    known += [f"I-{tag[2:]}" for tag in known if tag.startswith("B-") and f"I-{tag[2:]}" not in known]
    return [[rng.choice(known) if rng.random() < rate else tag for tag in sentence] for sentence in gold]
