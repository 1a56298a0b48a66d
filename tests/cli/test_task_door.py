"""A task from outside: defined here alone, found by an entry point, and at home in every command."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import plugin
import pytest
import tiny_study
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from typer.testing import Result

from mslm_cli import plugins
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus, LabelledSentence
from mslm_cli.corpus.labels import ScoredMention, tags_from_mentions
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.corpus.standoff import SplitWords
from mslm_cli.tasks.spans import SpanTask
from mslm_cli.text.tokens import token_spans
from mslm_cli.training.classifier import TokenClassifier
from mslm_cli.training.labelled import LabelledSequences, TrainingSource
from mslm_cli.training.metric import Metric
from mslm_cli.training.model import load_ner, load_token_classifier
from mslm_cli.training.supervised import Trained
from mslm_cli.training.tagging import make_windows, predict_probabilities

Mslm = Callable[..., Result]

PLAIN, TERM = "plain", "term"


@dataclass(frozen=True)
class WordKind(SpanTask):
    """Each word is classified by itself: part of a disease's name, or not."""

    name: str = "word-kind"
    metric: Metric = field(default_factory=lambda: Metric("accuracy", "word accuracy"))

    def read(self, path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> LabelledCorpus:
        corpus = read_labelled(path, options, split_words)
        return replace(corpus, sentences=tuple(map(self._by_words, corpus.sentences)), types=(PLAIN, TERM))

    def _by_words(self, sentence: LabelledSentence) -> LabelledSentence:
        inside = {i for start, end, _ in sentence.mentions for i in range(start, end)}
        kinds = tuple((i, i + 1, TERM if i in inside else PLAIN) for i in range(len(sentence.words)))
        return replace(sentence, mentions=kinds, tags=tuple(tags_from_mentions(kinds, len(sentence.words))))

    def labels(
        self, train: LabelledCorpus, dev: LabelledCorpus, train_file: Path, others: Iterable[str] = ()
    ) -> list[str]:
        return [PLAIN, TERM]

    def types(self, labels: Sequence[str]) -> set[str]:
        return set(labels)

    def new_model(
        self, encoder: Path, labels: list[str], config: FinetuneConfig, train: LabelledCorpus
    ) -> PreTrainedModel:
        return load_token_classifier(encoder, labels, allow_pickle=False, seed=config.seed)

    def load_model(self, folder: Path) -> PreTrainedModel:
        return load_ner(folder)

    def training_data(
        self,
        sources: Sequence[TrainingSource],
        labels: Sequence[str],
        tokenizer: PreTrainedTokenizerFast,
        config: FinetuneConfig,
    ) -> LabelledSequences:
        corpus = sources[0].corpus
        windows, n_words = self._windows(corpus, tokenizer, config)
        flat = np.array([labels.index(kind) for s in corpus.sentences for *_, kind in s.mentions])
        classes = flat[windows.flat_words(n_words)]
        return LabelledSequences(windows.offsets, windows.input_ids, windows.label_offsets, windows.pieces, classes)

    def encode(
        self, corpus: LabelledCorpus, model: TokenClassifier, tokenizer: PreTrainedTokenizerFast, config: FinetuneConfig
    ) -> Any:
        return self._windows(corpus, tokenizer, config)

    def _windows(self, corpus: LabelledCorpus, tokenizer: PreTrainedTokenizerFast, config: FinetuneConfig) -> Any:
        sentences = [s.words for s in corpus.sentences]
        windows = make_windows(sentences, tokenizer, tokenizer.model_max_length, config.overlap)
        return windows, list(map(len, sentences))

    def probabilities(self, model: PreTrainedModel, encoded: Any, *, pad_id: int, batch_tokens: int) -> Sequence[Any]:
        return predict_probabilities(model, *encoded, pad_id=pad_id, batch_tokens=batch_tokens)

    def decode(
        self, predicted: Sequence[Any], labels: Sequence[str], threshold: float = 0.5
    ) -> list[PredictedSentence]:
        found = []
        for probabilities in predicted:
            best = probabilities.argmax(-1).tolist()
            spans = [ScoredMention(i, i + 1, labels[k], float(probabilities[i, k])) for i, k in enumerate(best)]
            tags = tags_from_mentions([span.mention for span in spans], len(spans))
            found.append(PredictedSentence(tags, spans))
        return found

    def score(self, gold: LabelledCorpus, predicted: Sequence[PredictedSentence]) -> dict[str, Any]:
        rights = [
            mention == span.mention
            for sentence, found in zip(gold.sentences, predicted, strict=True)
            for mention, span in zip(sentence.mentions, found.mentions, strict=True)
        ]
        return {"accuracy": float(np.mean(rights))}

    def card(self, config: FinetuneConfig, labels: Sequence[str], train: LabelledCorpus, trained: Trained) -> str:
        return f"Words are {' or '.join(labels)}: accuracy {trained.kept.scores['accuracy']:.4f} on dev.\n"


TASK = WordKind()


@pytest.fixture
def plug_in(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a package with a task of this name and source: ``plug_in("word-kind", "...")``."""

    def add(name: str, source: str = "from test_task_door import TASK as ENTRY\n") -> None:
        folder, module = tmp_path_factory.mktemp("site"), f"toy_{name.replace('-', '_')}"
        plugin.install(folder, monkeypatch, "mslm.tasks", name, source, module=module)

    return add


_TRAINING = "--epochs 3 --learning-rate 0.01 --tokens-per-step 128 --threads 1"
FINETUNE = f"finetune --task word-kind --train train.tsv --dev dev.tsv --model adapted {_TRAINING} -o words".split()


@pytest.fixture
def trained(workplace: Path, mslm: Mslm, plug_in: Callable[..., None]) -> Path:
    """A model for the toy task."""
    plug_in("word-kind")
    done = mslm(*FINETUNE)
    assert done.exit_code == 0, done.stderr
    assert "epoch 1: dev word accuracy " in done.stderr
    return Path("words")


def test_it_is_fine_tuned_and_the_manifest_names_it(trained: Path) -> None:
    run = json.loads((trained / "manifest.json").read_bytes())["run"]
    logged = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    dev_scores = [line["dev"]["accuracy"] for line in logged if "dev" in line]
    assert (run["task"], run["primary_metric"]) == ("word-kind", "word accuracy")
    assert run["dev_score"] == max(dev_scores) == dev_scores[run["best_epoch"] - 1]
    assert run["dev_score"] > 0.7, "it has learnt something"
    assert (trained / "README.md").read_text().startswith("Words are plain or term: accuracy ")


def test_it_is_scored_by_its_own_metric(trained: Path, mslm: Mslm) -> None:
    done = mslm("eval", trained, "--data", "test.tsv", "--train", "train.tsv", "-o", "scores")
    assert done.exit_code == 0, done.stderr
    results = json.loads(Path("scores/results.json").read_bytes())
    assert (results["system"]["task"], results["primary_metric"]) == ("word-kind", "word accuracy")
    match = results["exact_match"]
    assert match["gold"] == match["predicted"] == results["n_words"]
    assert match["f1"] == match["correct"] / results["n_words"]
    assert set(match["per_type"]) == {PLAIN, TERM}
    assert results["types_unknown_to_model"] == []
    assert ": word accuracy " in Path("scores/report.html").read_text()


def test_it_predicts_and_is_compared_only_with_the_same_metric(trained: Path, mslm: Mslm) -> None:
    text = "the patients with heart failure ."
    Path("note.txt").write_text(f"{text}\n")
    found = mslm("predict", trained, "note.txt")
    assert found.exit_code == 0, found.stderr
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line["text"] for line in lines] == text.split()
    assert {line["type"] for line in lines} <= {PLAIN, TERM}
    for model, scores in (("words", "one"), ("ner", "other")):
        assert mslm("eval", model, "--data", "test.tsv", "-o", scores).exit_code == 0
    assert "differences of word accuracy" in mslm("compare", "a=one", "b=one/predictions.jsonl").stdout
    refused = mslm("compare", "one", "other")
    assert refused.exit_code == 2
    assert "one is scored by word accuracy, other by strict F1" in refused.stderr


def test_a_study_of_it(workplace: Path, mslm: Mslm, plug_in: Callable[..., None]) -> None:
    plug_in("word-kind")
    head = tiny_study.HEAD.replace("[finetune]", '[finetune]\ntask = "word-kind"').replace(
        "seeds = [1, 2]", "seeds = [1]"
    )
    tiny_study.write(workplace, head + '\n[[arm]]\nkind = "word"\n')
    done = mslm("sweep", "study.toml", "-o", "study", "--threads", "1")
    assert done.exit_code == 0, done.stderr
    assert "dev word accuracy " in done.stderr
    assert "word accuracy on toy" in done.stderr
    verdict = json.loads(Path("study/verdict.json").read_bytes())
    assert verdict["primary_metric"] == "word accuracy"
    models = [json.loads(p.read_bytes())["run"] for p in Path("study/work").glob("ner-*/manifest.json")]
    assert {arm["dev_score"] for arm in verdict["arms"]} == {run["dev_score"] for run in models}
    n_words = sum(bool(line) for line in Path("test.tsv").read_text().splitlines())
    for arm in verdict["arms"]:
        lengths = arm["data"]["toy"]["outcomes"]
        assert lengths["1"]["n_gold"] == n_words, "every word is one to be scored"
    page = next(Path("study").glob("*.html")).read_text()
    assert "word accuracy" in page
    assert "strict F1" not in page


def test_missing_and_broken_tasks_are_one_line(workplace: Path, mslm: Mslm, plug_in: Callable[..., None]) -> None:
    plug_in("word-kind")
    plug_in("gone", "import no_such_module\n")
    plug_in("odd", "ENTRY = 'not a task at all'\n")
    command = [*FINETUNE]
    for name, code, said in [
        ("parsing", 2, "error: --task parsing: unknown task (tasks: documents, gone, ner, odd, relations, word-kind)"),
        ("gone", 5, "cannot be loaded: ModuleNotFoundError: "),
        ("odd", 5, "expected a mslm_cli.tasks.task.Task, found str"),
    ]:
        command[2] = name
        refused = mslm(*command)
        assert refused.exit_code == code, refused.stderr
        assert said in refused.stderr.splitlines()[0]


def test_a_model_whose_task_is_not_installed_says_so(
    trained: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "installed", lambda group: {})
    refused = mslm("eval", trained, "--data", "test.tsv")
    assert refused.exit_code == 2
    assert "word-kind: unknown task" in refused.stderr
