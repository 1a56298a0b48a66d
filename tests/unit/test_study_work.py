"""What pieces of work took."""

import json
from pathlib import Path

from mslm_cli.config import AdaptConfig, FinetuneConfig
from mslm_cli.studies.plan import Made, Piece, Trial
from mslm_cli.studies.spec import Arm
from mslm_cli.studies.work import Spent, Workshop

UPDATES = [
    {"update": 1, "loss": 1.0, "n_tokens": 1000, "tokens_per_s": 500.0},
    {"update": 2, "loss": 0.5, "n_tokens": 600, "tokens_per_s": 100.0},
]
DEV = {"update": 2, "epoch": 1, "dev": {"f1": 0.8}, "seconds": 4.0}


def log(workshop: Workshop, piece: Piece, lines: list[dict[str, object]]) -> None:
    workshop.path(piece).mkdir(parents=True)
    (workshop.path(piece) / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_training_took_is_its_updates_and_the_scoring_of_dev(tmp_path: Path) -> None:
    piece, workshop = Piece("ner", FinetuneConfig(), ()), Workshop(tmp_path)
    log(workshop, piece, [*UPDATES, DEV])
    assert workshop.spent(piece) == Spent(seconds=12.0, n_tokens=1600)


def test_an_adaptation_that_trials_share_counts_once_and_the_head_not_at_all(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    head = Piece("encoder", AdaptConfig(head_warmup_updates=5, updates=1), ())
    encoder = Piece("encoder", AdaptConfig(), (("model", Made(head)),))
    ners = [Piece("ner", FinetuneConfig(seed=seed), (("model", Made(encoder)),)) for seed in (1, 2)]
    for piece in (head, encoder):
        log(workshop, piece, UPDATES)
    for piece in ners:
        log(workshop, piece, [*UPDATES, DEV])
    trials = [Trial("toy", Arm("word", "word"), seed, ner, None, None) for seed, ner in enumerate(ners)]
    assert workshop.spent_on(trials) == Spent(seconds=8.0 + 2 * 12.0, n_tokens=3 * 1600)
