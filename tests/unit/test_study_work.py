"""What a piece of work took."""

import json
from pathlib import Path

from mslm_cli.config import FinetuneConfig
from mslm_cli.studies.plan import Piece
from mslm_cli.studies.work import Spent, Workshop


def test_what_training_took_is_its_updates_and_the_scoring_of_dev(tmp_path: Path) -> None:
    piece, workshop = Piece("ner", FinetuneConfig(), ()), Workshop(tmp_path)
    workshop.path(piece).mkdir(parents=True)
    lines = [
        {"update": 1, "loss": 1.0, "n_tokens": 1000, "tokens_per_s": 500.0},
        {"update": 2, "loss": 0.5, "n_tokens": 600, "tokens_per_s": 100.0},
        {"update": 2, "epoch": 1, "dev": {"f1": 0.8}, "seconds": 4.0},
    ]
    (workshop.path(piece) / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert workshop.spent(piece) == Spent(seconds=12.0, n_tokens=1600)
