"""Dev scores over the course of fine-tuning on small training sets, for choosing the schedule of ``mslm finetune``.

    python benchmarks/schedule.py DATA FILE.jsonl CORPUS:SENTENCES:SEED:TOKENS_PER_STEP:STEPS:RATE ...

For each setting, one line: the score after each epoch on as many dev sentences as a user would have (a fifth of the
training sentences, at least 50), and, for some epochs, on 400 other dev sentences, which stand for the truth. Training
and dev sentences are drawn in runs of ten. Lines that FILE.jsonl has already are not made again. No test set is read.
"""

import gzip
import json
import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mslm_cli import allocator, models
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.tasks.ner import NER
from mslm_cli.training import rng
from mslm_cli.training.classifier import label_names
from mslm_cli.training.device import prepare_model, select_device
from mslm_cli.training.labelled import TrainingSource
from mslm_cli.training.schedule import Schedule
from mslm_cli.training.supervised import TrainingPlan, start_training, training_steps

N_OTHERS = 400
N_MEASURED = 5


class Setting(NamedTuple):
    corpus: str
    n_sentences: int
    seed: int
    tokens_per_step: int
    n_steps: int
    learning_rate: float


def parsed(text: str) -> Setting:
    corpus, *numbers, rate = text.split(":")
    return Setting(corpus, *map(int, numbers), float(rate))


def blocks(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [block.strip("\n") for block in file.read().split("\n\n") if block.strip()]


def drawn(sentences: list[str], n: int, chooser: random.Random) -> list[str]:
    starts = list(range(0, len(sentences), 10))
    chooser.shuffle(starts)
    return [sentence for start in starts for sentence in sentences[start : start + 10]][:n]


def read(sentences: list[str], folder: Path, config: FinetuneConfig) -> LabelledCorpus:
    path = folder / "sentences.tsv"
    path.write_text("\n\n".join(sentences) + "\n", encoding="utf-8")
    return NER.read(path, config)


def measure(data: Path, setting: Setting) -> dict[str, Any]:
    started = time.process_time()
    chooser = random.Random(f"{setting.corpus}{setting.n_sentences}{setting.seed}")
    config = FinetuneConfig.build(seed=setting.seed, learning_rate=setting.learning_rate, threads=1, offline=True)
    chosen = drawn(blocks(data / setting.corpus / "train.tsv.gz"), setting.n_sentences, chooser)
    development = blocks(data / setting.corpus / "devel.tsv.gz")
    small = drawn(development, max(50, setting.n_sentences // 5), chooser)
    others = drawn([s for s in development if s not in set(small)], N_OTHERS, chooser)
    with TemporaryDirectory() as folder:
        train, own, rest = (read(sentences, Path(folder), config) for sentences in (chosen, small, others))
    encoder = models.resolve(config.model, offline=True, allow_pickle=False)
    tokenizer = models.load_tokenizer(encoder)
    tokenizer.model_max_length = config.max_length
    model = NER.new_model(encoder, NER.labels(train, own, Path("train.tsv")), config, train)
    prepare_model(model, select_device("cpu", threads=1))
    sequences = NER.training_data(
        [TrainingSource(train, frozenset(train.types))], label_names(model), tokenizer, config
    )
    n_tokens = int(sequences.lengths.sum())
    n_epochs = max(1, round(setting.n_steps / max(1, round(n_tokens / setting.tokens_per_step))))
    plan = TrainingPlan(config, Schedule(n_epochs, setting.tokens_per_step, 0))
    state, plans = start_training(model, sequences, plan)
    rng.seed(config.seed)

    def score(corpus: LabelledCorpus) -> float:
        encoded = NER.encode(corpus, model, tokenizer, config)
        found = NER.probabilities(model, encoded, pad_id=tokenizer.pad_token_id, batch_tokens=2048)
        return round(float(NER.score(corpus, NER.decode(found, label_names(model)))["f1"]), 4)

    every, curve = max(1, n_epochs // N_MEASURED), []
    for epoch, steps in enumerate(plans):
        for _ in training_steps(state, sequences, steps, epoch, plan, tokenizer.pad_token_id):
            pass
        is_measured = epoch % every == every - 1 or epoch == n_epochs - 1
        curve.append((epoch + 1, score(own), score(rest) if is_measured else None))
    cpu_s = round(time.process_time() - started)
    sizes = {"n_tokens": n_tokens, "n_epochs": n_epochs, "n_others": len(rest.sentences)}
    return {"setting": setting, **sizes, "curve": curve, "cpu_s": cpu_s}


def main() -> None:
    allocator.keep_freed_memory()
    data, file = map(Path, sys.argv[1:3])
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    done = {Setting(*json.loads(line)["setting"]) for line in lines}
    for setting in map(parsed, sys.argv[3:]):
        if setting not in done:
            line = json.dumps(measure(data, setting))
            with file.open("a", encoding="utf-8") as out:
                out.write(line + "\n")


if __name__ == "__main__":
    main()
