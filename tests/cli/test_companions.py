"""Fine-tuning on several sources: other corpora with types of their own, and sentences that models have labelled."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import child_process
import pytest
from safetensors import safe_open
from typer.testing import Result

from mslm_cli.corpus.labels import ScoredMention
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.fsio import sha256_of
from mslm_cli.stages.label import vote

Mslm = Callable[..., Result]
_TRAINING = "--model encoder --threads 1 --epochs 3 --tokens-per-step 128 --learning-rate 0.01"
FINETUNE = f"finetune --train train.tsv --dev dev.tsv {_TRAINING}".split()


def manifest(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "manifest.json").read_text())
    return found


def with_type(name: str, source: str, target: str) -> None:
    """Write ``source`` with all its mentions of one type."""
    rows = [line.split("\t") for line in Path(source).read_text().splitlines()]
    lines = [f"{row[0]}\t{row[1] if row[1] == 'O' else row[1][:2] + name}" if len(row) == 2 else "" for row in rows]
    Path(target).write_text("\n".join(lines) + "\n")


@pytest.fixture
def silver(workplace: Path, mslm: Mslm) -> Path:
    done = mslm("label", "text.txt", "--model", "ner", "--min-confidence", "0", "--threads", "1", "-o", "silver")
    assert done.exit_code == 0, done.stderr
    return Path("silver")


def test_two_corpora_with_types_of_their_own(workplace: Path, mslm: Mslm) -> None:
    with_type("Disease", "train.tsv", "train.tsv")
    with_type("Disease", "dev.tsv", "dev.tsv")
    with_type("Chemical", "test.tsv", "chemicals.tsv")
    done = mslm(*FINETUNE, "--also", "chemicals.tsv", "-o", "both")
    assert done.exit_code == 0, done.stderr
    labels = json.loads(Path("both/config.json").read_text())["id2label"]
    assert list(labels.values()) == ["O", "B-Disease", "I-Disease", "B-Chemical", "I-Chemical"]
    assert manifest("both")["run"]["other_types"] == ["Chemical"]
    scored = mslm("eval", "both", "--data", "dev.tsv", "--json", "--threads", "1")
    assert "left out: the model learnt these types from other data" in scored.stderr
    assert "Chemical" not in json.loads(scored.stdout)["exact_match"]["per_type"]
    both = mslm("eval", "both", "--data", "chemicals.tsv", "--json", "--threads", "1")
    assert "left out" not in both.stderr


def test_a_corpus_is_refused_if_it_has_no_mentions(workplace: Path, mslm: Mslm) -> None:
    Path("empty.tsv").write_text("a\tO\nb\tO\n")
    done = mslm(*FINETUNE, "--also", "empty.tsv", "-o", "both")
    assert (done.exit_code, "empty.tsv" in done.stderr) == (3, True)
    assert not Path("both").exists()


def test_types_are_renamed(workplace: Path, mslm: Mslm) -> None:
    with_type("Disorder", "test.tsv", "other.tsv")
    with_type("Disease", "train.tsv", "train.tsv")
    with_type("Disease", "dev.tsv", "dev.tsv")
    assert mslm(*FINETUNE, "--also", "other.tsv", "--map", "Disorder=Disease", "-o", "both").exit_code == 0
    assert manifest("both")["run"]["other_types"] == []
    assert mslm(*FINETUNE, "--train", "other.tsv", "--dev", "other.tsv", "-o", "disorders").exit_code == 0
    for options, said in (([], "knows only Disorder"), (["--map", "Disorder=Disease"], "keeping its head for Disease")):
        done = mslm(*FINETUNE, "--model", "disorders", *options, "-o", "transfer", "--overwrite")
        assert done.exit_code == 0, done.stderr
        assert said in done.stderr
    wrong = mslm(*FINETUNE, "--also", "other.tsv", "--map", "Disorder", "-o", "wrong")
    assert wrong.exit_code == 2
    assert "--map: expected OTHER=OURS" in wrong.stderr


@pytest.mark.parametrize(
    ("where", "type_there"),
    [
        (["--also", "other.tsv"], "Disorder"),
        (["--also", "-"], "Disorder"),
        (["--silver", "silver"], "Disease"),
        (["--model", "ner"], "Disease"),
        (["--rank-sources", "other.tsv"], "Disorder"),
    ],
)
def test_a_type_that_occurs_nowhere_is_not_renamed(
    workplace: Path, silver: Path, mslm: Mslm, where: list[str], type_there: str
) -> None:
    with_type("Disorder", "test.tsv", "other.tsv")
    stdin = Path("other.tsv").read_bytes()
    tiny = [*FINETUNE, "--epochs", "1", *where]
    wrong = mslm(*tiny, "--map", f"{type_there}=Illness,Gene=Protein", "-o", "wrong", stdin=stdin)
    assert wrong.exit_code == 2
    assert "no type 'Gene' to rename in " in wrong.stderr
    assert f"--silver or --model (--map); the types there: {type_there}" in wrong.stderr
    assert not Path("wrong").exists()
    done = mslm(*tiny, "--map", f"{type_there}=Illness", "-o", "done", stdin=stdin)
    assert done.exit_code == 0, done.stderr


def test_a_type_need_only_be_in_one_of_several_places(workplace: Path, silver: Path, mslm: Mslm) -> None:
    with_type("Disorder", "test.tsv", "other.tsv")
    both = ["--also", "other.tsv", "--silver", "silver", "--map", "Disorder=Illness,Disease=Illness"]
    assert mslm(*FINETUNE, "--epochs", "1", *both, "-o", "both").exit_code == 0
    assert manifest("both")["run"]["other_types"] == ["Illness"]


def test_a_model_is_a_start_for_other_data(workplace: Path, mslm: Mslm) -> None:
    done = mslm(*FINETUNE, "--model", "ner", "-o", "more")
    assert done.exit_code == 0, done.stderr
    assert "ner is a NER model: keeping its head for" in done.stderr
    again = mslm("eval", "more", "--data", "train.tsv", "--threads", "1")
    assert "`finetune-train`" in again.stderr
    assert "`model-finetune-train`" in again.stderr


def test_a_model_is_a_start_for_adaptation(workplace: Path, mslm: Mslm) -> None:
    done = mslm("adapt", "shards", "--model", "ner", "--steps", "3", "--tokens-per-step", "128", "-o", "adapted2")
    assert done.exit_code == 0, done.stderr
    assert Path("adapted2/seen/model-finetune-train.u64").is_file()
    assert mslm(*FINETUNE, "--model", "adapted2", "-o", "more").exit_code == 0
    again = mslm("eval", "more", "--data", "train.tsv", "--threads", "1")
    assert "`model-finetune-train`" in again.stderr


def test_sentences_labelled_by_a_model_are_learnt(workplace: Path, silver: Path, mslm: Mslm) -> None:
    lines = [json.loads(line) for line in (silver / "silver.jsonl").read_text().splitlines()]
    assert 0 < len(lines) == manifest("silver")["run"]["n_sentences"]
    for line in lines:
        assert 0 <= line["confidence"] <= 1
        assert all(0 <= a < b <= len(line["words"]) for a, b, *_ in line["mentions"])
    done = mslm(*FINETUNE, "--silver", "silver", "-o", "better")
    assert done.exit_code == 0, done.stderr
    assert manifest("better")["run"]["other_types"] == []
    assert mslm(*FINETUNE, "-o", "plain").exit_code == 0
    assert sha256_of(Path("better/model.safetensors")) != sha256_of(Path("plain/model.safetensors"))


def test_what_a_teacher_has_seen_is_known_downstream(workplace: Path, mslm: Mslm) -> None:
    """Test sentences planted in the training data of a teacher."""
    planted = Path("train.tsv").read_text() + "\n" + Path("test.tsv").read_text()
    Path("planted.tsv").write_text(planted)
    command = ["finetune", "--train", "planted.tsv", *FINETUNE[3:]]
    assert mslm(*command, "-o", "teacher").exit_code == 0
    label = ["label", "text.txt", "--model", "teacher", "--min-confidence", "0", "--threads", "1", "-o", "silver"]
    assert mslm(*label).exit_code == 0
    assert mslm(*FINETUNE, "--silver", "silver", "-o", "student").exit_code == 0
    assert mslm(*FINETUNE, "--model", "teacher", "-o", "transferred").exit_code == 0
    for model, name in (("student", "teacher1-finetune-train"), ("transferred", "model-finetune-train")):
        done = mslm("eval", model, "--data", "test.tsv", "--json", "--threads", "1")
        results = json.loads(done.stdout)
        assert results["seen_upstream"][name] == results["n_sentences_checked"] > 0
        assert f"were seen by `{name}`" in done.stderr


def test_a_teacher_is_not_in_doubt_without_a_leak(workplace: Path, silver: Path, mslm: Mslm) -> None:
    assert mslm(*FINETUNE, "--silver", "silver", "-o", "student").exit_code == 0
    results = json.loads(mslm("eval", "student", "--data", "test.tsv", "--json", "--threads", "1").stdout)
    assert results["seen_upstream"]["teacher1-finetune-train"] == results["seen_upstream"]["finetune-train"]


@pytest.mark.parametrize("dies_after", [pytest.param(5, marks=pytest.mark.slow), 25])
@pytest.mark.parametrize(
    "options", [["--silver", "silver"], ["--also", "test.tsv"], ["--mask-mentions", "0.5", "--mlm", "0.3"]]
)
def test_a_killed_run_ends_in_the_same_bits(
    workplace: Path, silver: Path, mslm: Mslm, options: list[str], dies_after: int
) -> None:
    command = [*FINETUNE, *options, "-o"]
    assert mslm(*command, "whole").exit_code == 0
    again = [*command, "killed", "--checkpoint-every", "1steps"]
    assert child_process.run(*again, folder=workplace, dies_after=dies_after) == child_process.DIED
    assert child_process.run(*again, folder=workplace) == 0, Path("stderr").read_text()
    assert sha256_of(Path("killed/model.safetensors")) == sha256_of(Path("whole/model.safetensors"))


def test_hidden_words_are_predicted_too(workplace: Path, mslm: Mslm) -> None:
    options = ["--mask-mentions", "0.5", "--mask-words", "0.1"]
    done = mslm(*FINETUNE, *options, "--mlm", "0.5", "-o", "both")
    assert done.exit_code == 0, done.stderr
    assert mslm(*FINETUNE, *options, "-o", "labels").exit_code == 0
    with safe_open("both/model.safetensors", "pt") as both, safe_open("labels/model.safetensors", "pt") as labels:
        assert set(both.keys()) == set(labels.keys())
    assert sha256_of(Path("both/model.safetensors")) != sha256_of(Path("labels/model.safetensors"))
    alone = mslm(*FINETUNE, "--mlm", "0.5", "-o", "out")
    assert (alone.exit_code, "use --mask-mentions" in alone.stderr) == (2, True)


def test_dev_is_never_masked(workplace: Path, mslm: Mslm) -> None:
    """A model that sees nothing but masks in training is scored on dev as it is."""
    assert mslm(*FINETUNE, "--mask-mentions", "1", "--mask-words", "1", "-o", "blind").exit_code == 0
    lines = [json.loads(line) for line in Path("blind/metrics.jsonl").read_text().splitlines()]
    of_dev = {line["epoch"]: line["dev"] for line in lines if "dev" in line}
    best = manifest("blind")["run"]["best_epoch"]
    scored = mslm("eval", "blind", "--data", "dev.tsv", "--json", "--threads", "1")
    match = json.loads(scored.stdout)["exact_match"]
    assert (match["predicted"], match["correct"]) == (of_dev[best]["predicted"], of_dev[best]["correct"])


def test_context_needs_documents(workplace: Path, mslm: Mslm) -> None:
    said = "--context has no effect: train.tsv marks no documents"
    assert said in mslm(*FINETUNE, "--context", "1", "-o", "alone").stderr
    assert mslm(*FINETUNE, "-o", "plain").exit_code == 0
    assert sha256_of(Path("alone/model.safetensors")) == sha256_of(Path("plain/model.safetensors"))
    for name in ("train.tsv", "dev.tsv"):
        Path(name).write_text("-DOCSTART-\tO\n\n" + Path(name).read_text())
    done = mslm(*FINETUNE, "--context", "document", "-o", "whole")
    assert "no effect" not in done.stderr
    assert sha256_of(Path("whole/model.safetensors")) != sha256_of(Path("plain/model.safetensors"))
    lines = [json.loads(line) for line in Path("whole/metrics.jsonl").read_text().splitlines()]
    best = manifest("whole")["run"]["best_epoch"]
    on_dev = next(line["dev"] for line in lines if line.get("epoch") == best)
    scored = json.loads(mslm("eval", "whole", "--data", "dev.tsv", "--json", "--threads", "1").stdout)["exact_match"]
    assert (scored["predicted"], scored["correct"]) == (on_dev["predicted"], on_dev["correct"])


def test_a_killed_label_leaves_nothing_half_written(workplace: Path, silver: Path) -> None:
    command = ["label", "text.txt", "--model", "ner", "--min-confidence", "0", "--threads", "1", "-o", "again"]
    assert child_process.run(*command, folder=workplace, dies_after=1) == child_process.DIED
    assert not Path("again", "manifest.json").exists()
    assert child_process.run(*command, folder=workplace) == 0, Path("stderr").read_text()
    assert Path("again/silver.jsonl").read_bytes() == (silver / "silver.jsonl").read_bytes()


def test_a_damaged_line_is_named(workplace: Path, silver: Path, mslm: Mslm) -> None:
    shutil.copytree(silver, "damaged")
    file = Path("damaged/silver.jsonl")
    file.write_text(file.read_text().replace('"confidence"', '"confidenc"', 1))
    done = mslm(*FINETUNE, "--silver", "damaged", "-o", "out")
    assert done.exit_code == 4
    assert "silver.jsonl" in done.stderr


def found(*mentions: ScoredMention, confidence: float = 0.9) -> PredictedSentence:
    return PredictedSentence(["O"] * 6, mentions, confidence)


def test_models_vote() -> None:
    gene, long_gene = ScoredMention(0, 1, "Gene", 0.9), ScoredMention(0, 2, "Gene", 0.6)
    cell = ScoredMention(4, 5, "Cell", 0.8)
    one = vote([found(gene, cell)])
    assert (one.mentions, one.confidence) == ([gene, cell], 0.9)
    most = vote([found(gene), found(gene, cell), found(long_gene)])
    assert [m.mention for m in most.mentions] == [gene.mention]
    assert most.mentions[0].score == pytest.approx(0.6)
    assert most.confidence == pytest.approx(0.3)  # one of three found just this
    assert vote([found(gene), found(long_gene)]).mentions == []
    assert vote([found(gene), found(long_gene)]).confidence == 0.0
