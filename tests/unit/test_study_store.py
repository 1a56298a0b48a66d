"""What nodes of work took."""

import json
from pathlib import Path

from mslm_cli.config import AdaptConfig, FinetuneConfig
from mslm_cli.studies.nodes import OutputOf, StageNode, Trial
from mslm_cli.studies.spec import Arm
from mslm_cli.studies.store import Spent, StudyStore

UPDATES = [
    {"step": 1, "loss": 1.0, "n_tokens": 1000, "tokens_per_s": 500.0},
    {"step": 2, "loss": 0.5, "n_tokens": 600, "tokens_per_s": 100.0},
]
DEV = {"step": 2, "epoch": 1, "dev": {"f1": 0.8}, "seconds": 4.0}


def log(store: StudyStore, node: StageNode, lines: list[dict[str, object]]) -> None:
    store.path(node).mkdir(parents=True)
    (store.path(node) / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_time_of_training_includes_steps_and_dev_scoring(tmp_path: Path) -> None:
    node, store = StageNode("ner", FinetuneConfig(), ()), StudyStore(tmp_path)
    log(store, node, [*UPDATES, DEV])
    assert store.spent(node) == Spent(seconds=12.0, n_tokens=1600)


def test_a_shared_adaptation_counts_once_and_the_head_not_at_all(tmp_path: Path) -> None:
    store = StudyStore(tmp_path)
    head = StageNode("encoder", AdaptConfig(head_warmup_steps=5, steps=1), ())
    encoder = StageNode("encoder", AdaptConfig(), (("model", OutputOf(head)),))
    ners = [StageNode("ner", FinetuneConfig(seed=seed), (("model", OutputOf(encoder)),)) for seed in (1, 2)]
    for node in (head, encoder):
        log(store, node, UPDATES)
    for node in ners:
        log(store, node, [*UPDATES, DEV])
    trials = [Trial("toy", Arm("word", "word"), seed, ner, None, None) for seed, ner in enumerate(ners)]
    assert store.spent_on(trials) == Spent(seconds=8.0 + 2 * 12.0, n_tokens=3 * 1600)
