"""The task of relations in every command."""

import importlib.util
import json
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import relation_data
from encoders import FAMILIES
from jsonschema import Draft202012Validator
from typer.testing import Result

from mslm_cli import fsio
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.relations import read_relations

Mslm = Callable[..., Result]


NER = "finetune --train train.pubtator --dev dev.pubtator --learning-rate 0.02 --tokens-per-step 128 --threads 1"


def validator(name: str) -> Draft202012Validator:
    schema: dict[str, Any] = json.loads((fsio.resource("schemas") / f"{name}.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def run(mslm: Mslm, *arguments: object) -> Result:
    done = mslm(*arguments)
    assert done.exit_code == 0, done.stderr
    return done


@pytest.fixture
def ner(related_workplace: Path, mslm: Mslm) -> Path:
    """An NER model for the mentions of the same documents."""
    run(mslm, *NER.split(), "--model", "encoder", "--epochs", "6", "-o", "ner")
    return Path("ner")


def test_it_is_fine_tuned_and_the_model_knows_which_pairs_it_is_for(related: Path) -> None:
    manifest = json.loads((related / "rel/manifest.json").read_bytes())["run"]
    config = json.loads((related / "rel/config.json").read_bytes())
    assert (manifest["task"], manifest["primary_metric"]) == ("relations", "relation F1")
    assert manifest["dev_score"] == 1, "there is nothing that it cannot learn"
    assert config["pair_rules"]["types"] == [["Chemical", "Disease"]]
    assert config["pair_rules"]["are_concepts"]
    assert config["architectures"] == ["BertForPairClassification"]
    assert set(config["id2label"].values()) == {"no relation", "CID"}
    assert "Relations: CID; between Chemical and Disease." in (related / "rel/README.md").read_text()
    assert {path.stem for path in (related / "rel/seen").glob("*.u64")} == {"finetune-train", "finetune-dev"}


def test_the_classes_of_candidates_are_reported(related_workplace: Path, mslm: Mslm) -> None:
    done = run(mslm, *relation_data.FINETUNE.split(), "--pairs", "document", "--max-distance", "3", "-o", "out")
    corpus = read_relations(Path("train.pubtator"), DataOptions())
    n_pairs = done.stderr.split(" candidate pairs in train: no relation ")[0].rsplit("\n", 1)[-1]
    assert int(n_pairs) >= corpus.n_gold
    assert f"CID {corpus.n_gold} (" in done.stderr


def test_it_is_scored_with_slices_intervals_and_the_leak_guard(related_workplace: Path, mslm: Mslm) -> None:
    done = run(mslm, "eval", "rel", "--data", "test.pubtator", "--train", "train.pubtator", "-o", "scores")
    results: dict[str, Any] = json.loads(Path("scores/results.json").read_bytes())
    gold = read_relations(Path("test.pubtator"), DataOptions())
    validator("results-documents").validate(results)
    for line in Path("scores/predictions.jsonl").read_text().splitlines():
        validator("predictions-documents").validate(json.loads(line))
    assert results["kind"] == "relations"
    assert results["exact_match"]["gold"] == gold.n_gold
    assert results["exact_match"]["f1"] > 0.9
    assert results["resampled"] == {"unit": "documents", "n": 15, "replicates": 1000, "seed": 0, "level": 0.95}
    assert set(results["slices"]) == {"distance", "sentences", "mention_length", "seen_pair"}
    assert results["n_sentences"] == len(gold.sentences)
    assert set(results["seen_upstream"]) == {"finetune-train", "finetune-dev", "train"}
    assert "relations (pair, direction and type)" in done.stderr
    page = Path("scores/report.html").read_text()
    assert "A relation is correct if its pair" in page
    assert "seqeval" not in page


def test_scores_do_not_see_gold_relations(related_workplace: Path, mslm: Mslm) -> None:
    Path("blind.pubtator").write_text(
        "".join(line for line in Path("test.pubtator").read_text().splitlines(keepends=True) if "\tCID\t" not in line)
    )
    found = [run(mslm, "predict", "rel", file).stdout for file in ("test.pubtator", "blind.pubtator")]
    assert found[0] == found[1] != ""


def test_predictions_without_text_are_scored_and_compared(related_workplace: Path, mslm: Mslm) -> None:
    run(mslm, "eval", "rel", "--data", "test.pubtator", "--no-text", "-o", "scores")
    written = Path("scores/predictions.jsonl").read_text() + Path("scores/report.html").read_text()
    assert not any(name in written for name in ("aspirin", "warfarin", "heart failure"))
    again = run(mslm, "eval", "--predictions", "scores/predictions.jsonl", "--json")
    results = json.loads(Path("scores/results.json").read_bytes())
    assert json.loads(again.stdout)["exact_match"] == results["exact_match"]
    lines = [json.loads(line) for line in Path("scores/predictions.jsonl").read_text().splitlines()]
    worse = [line | {"pred": [], "scores": [], "errors": []} for line in lines]
    Path("worse.jsonl").write_text("".join(json.dumps(line) + "\n" for line in worse))
    compared = json.loads(run(mslm, "compare", "ours=scores", "none=worse.jsonl", "--json").stdout)
    assert compared["primary_metric"] == "relation F1"
    (pair,) = compared["comparisons"]
    assert pair["difference"]["f1"]["value"] == -results["exact_match"]["f1"]
    assert pair["n_sentences_worse"] > 0
    shown = run(mslm, "compare", "ours=scores", "none=worse.jsonl", "--show", "1").stdout
    assert "-CID->" in shown


def test_relations_and_mentions_are_not_compared(related_workplace: Path, ner: Path, mslm: Mslm) -> None:
    for model, scores in (("rel", "one"), (str(ner), "other")):
        run(mslm, "eval", model, "--data", "test.pubtator", "-o", scores)
    refused = mslm("compare", "one", "other")
    assert refused.exit_code == 2
    assert "one is scored by relation F1, other by strict F1" in refused.stderr


def test_end_to_end_from_raw_text(related_workplace: Path, ner: Path, mslm: Mslm) -> None:
    Path("note.txt").write_text("aspirin induced renal toxicity after 3 days . warfarin therapy for breast cancer .\n")
    lines = [json.loads(line) for line in run(mslm, "predict", "rel", "note.txt", "--ner", ner).stdout.splitlines()]
    assert [(line["head"]["text"], line["type"], line["tail"]["text"]) for line in lines] == [
        ("aspirin", "CID", "renal toxicity")
    ]
    (line,) = lines
    assert (line["head"]["start"], line["head"]["end"]) == (0, 7)
    assert 0 <= line["score"] <= 1
    hidden = json.loads(run(mslm, "predict", "rel", "note.txt", "--ner", ner, "--no-text").stdout)
    assert "text" not in hidden["head"]
    for form, output in (("brat", "brat"), ("pubtator", "out.pubtator"), ("bioc", "out.json"), ("jsonl", "out.jsonl")):
        run(mslm, "predict", "rel", "note.txt", "--ner", ner, "--to", form, "-o", output)
        (document,) = read_relations(Path(output), DataOptions()).documents
        ((head, tail, kind),) = document.relations
        texts = [document.shown(document.entities[end].mentions[0]) for end in (head, tail)]
        assert (texts, kind) == (["aspirin", "renal toxicity"], "CID"), form
    results = json.loads(run(mslm, "eval", "rel", "--data", "test.pubtator", "--ner", ner, "--json").stdout)
    validator("results-documents").validate(results)
    end_to_end, given_mentions = results["end_to_end"]["exact_match"], results["exact_match"]
    assert end_to_end["gold"] == given_mentions["gold"]
    assert end_to_end["f1"] <= given_mentions["f1"]
    assert "intervals" in end_to_end


def test_bad_combinations_are_one_line(related_workplace: Path, ner: Path, mslm: Mslm) -> None:
    training = relation_data.FINETUNE.split()
    for arguments, code, said in [
        ((*training, "--mask-mentions", "0.1", "-o", "x"), 2, "--mask-mentions does not apply to --task relations"),
        ((*training, "--also", "dev.pubtator", "-o", "x"), 2, "--also does not apply to --task relations"),
        (("finetune", "--train", "train.pubtator", "--dev", "dev.pubtator", "--pairs", "document", "-o", "x"), 2,
         "--pairs does not apply to --task ner"),
        ((*training, "--folds", "3", "-o", "x"), 2, "--folds divides sentences"),
        (("predict", ner, "test.pubtator", "--ner", ner), 2, "--ner finds mentions to relate"),
        (("predict", "rel", "test.pubtator", "--ner", "rel"), 2, "expected a model that finds mentions"),
        (("predict", "rel", "test.pubtator", "--to", "conll"), 2, "--to conll cannot hold relations"),
        (("eval", "rel", "--data", "test.pubtator", "--conlleval"), 2, "--conlleval scores tags of words"),
        (("eval", ner, "--data", "test.pubtator", "--ner", ner), 2, "--ner needs a model of relations"),
        (("eval", "rel", "--data", "test.pubtator", "--backend", "onnx"), 2, "--backend onnx cannot classify pairs"),
        (("label", "test.pubtator", "--model", "rel", "-o", "x"), 2, "finds no mentions"),
    ]:  # fmt: skip
        refused = mslm(*arguments)
        assert (refused.exit_code, said in refused.stderr) == (code, True), f"{arguments}: {refused.stderr}"
        assert len(refused.stderr.strip().splitlines()[-1]) < 300


def test_data_without_relations_are_nothing_to_learn(related_workplace: Path, mslm: Mslm) -> None:
    Path("none.txt").write_text("1|t|aspirin\n1|a|fever\n1\t0\t7\taspirin\tDrug\tD1\n")
    command = [a.replace("train.pubtator", "none.txt") for a in relation_data.FINETUNE.split()]
    refused = mslm(*command, "-o", "x")
    assert refused.exit_code == 3
    assert "none.txt: the training data have no relations" in refused.stderr


def test_data_without_relations_cannot_be_scored(related_workplace: Path, mslm: Mslm) -> None:
    Path("labels.csv").write_text("text,label\naspirin causes fever,yes\n")
    refused = mslm("eval", "rel", "--data", "labels.csv")
    assert refused.exit_code == 3
    assert "labels.csv: no relations, so there is nothing to score" in refused.stderr


def test_many_pairs_in_a_document_are_bounded_with_a_message(related_workplace: Path, mslm: Mslm) -> None:
    words = [("aspirin", "Chemical"), ("failure", "Disease")] * 60
    rows, at = [], 0
    for i, (word, kind) in enumerate(words):
        rows.append(f"1\t{at}\t{at + len(word)}\t{word}\t{kind}\tC{i}")
        at += len(word) + 1
    text = " ".join(word for word, _ in words)
    Path("many.txt").write_text("\n".join([f"1|t|{text}", "1|a|", *rows, "1\tCID\tC0\tC1", "1\tCID\tC0\tC119"]) + "\n")
    done = run(mslm, "eval", "rel", "--data", "many.txt", "--json")
    assert "1 document with more than 2,000 candidate pairs" in done.stderr
    assert json.loads(done.stdout)["exact_match"]["gold"] == 2
    assert json.loads(run(mslm, "inspect", "many.txt", "--json").stdout)["sets"]["many.txt"]["relations"]["n"] == 2


def test_dev_data_must_have_relations(related_workplace: Path, mslm: Mslm) -> None:
    lines = Path("dev.pubtator").read_text().splitlines(keepends=True)
    Path("dev.pubtator").write_text("".join(line for line in lines if "\tCID\t" not in line))
    refused = mslm(*relation_data.FINETUNE.split(), "-o", "out")
    assert refused.exit_code == 3
    assert "the dev data have no relations" in refused.stderr


def test_all_pairs_of_a_text_in_one_pass(related_workplace: Path, mslm: Mslm) -> None:
    options = [*relation_data.FINETUNE.split(), "--pairs", "document", "--context", "document"]
    options += ["--epochs", "10", "--learning-rate", "0.01", "--tokens-per-step", "128"]
    run(mslm, *options, "--markers", "appended", "-o", "appended")
    scores = json.loads(run(mslm, "eval", "appended", "--data", "test.pubtator", "--json").stdout)
    assert scores["exact_match"]["f1"] > 0.9
    found = run(mslm, "predict", "appended", "test.pubtator").stdout
    assert found.count('"CID"') > 0
    run(mslm, *options, "--epochs", "1", "-o", "inserted")
    n_tokens = []
    for name in ("appended", "inserted"):
        lines = map(json.loads, Path(name, "metrics.jsonl").read_text().splitlines())
        n_tokens.append(sum(line["n_tokens"] for line in takewhile(lambda line: "n_tokens" in line, lines)))
    assert n_tokens[0] < 0.6 * n_tokens[1], "in the first epoch"


def test_appended_markers_need_positions_of_their_own(related_workplace: Path, mslm: Mslm) -> None:
    model, tokenizer = FAMILIES["roberta"](["aspirin induced heart failure"])
    model.save_pretrained("other")
    tokenizer.save_pretrained("other")
    refused = mslm(*relation_data.FINETUNE.split(), "--model", "other", "--markers", "appended", "-o", "out")
    assert refused.exit_code == 2
    assert "--markers appended does not work with encoders of type roberta" in refused.stderr
    assert not Path("out").exists()


def test_its_encoder_can_be_fine_tuned_for_another_task(related_workplace: Path, mslm: Mslm) -> None:
    run(mslm, *NER.split(), "--model", "rel", "--epochs", "1", "-o", "out")
    assert json.loads(Path("out/config.json").read_bytes())["architectures"] == ["BertForTokenClassification"]


def test_marked_pairs_from_training_to_scores(related_workplace: Path, mslm: Mslm) -> None:
    for name in ("train", "dev"):
        lines = []
        for document in read_relations(Path(f"{name}.pubtator"), DataOptions()).documents:
            ends = [document.shown(entity.mentions[0]) for entity in document.entities]
            for i, (drug, disease) in enumerate(zip(ends[::2], ends[1::2], strict=False)):
                label = "CID" if any(h == 2 * i for h, *_ in document.relations) else "0"
                text = document.text.replace(drug, f"<< {drug} >>").replace(disease, f"[[ {disease} ]]")
                lines.append(json.dumps({"text": " ".join(text.split()), "label": label}))
        Path(f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    command = [a.replace(".pubtator", ".jsonl") for a in relation_data.FINETUNE.split()]
    run(mslm, *command, "-o", "out")
    results = json.loads(run(mslm, "eval", "out", "--data", "dev.jsonl", "--json").stdout)
    assert results["exact_match"]["f1"] > 0.8
    assert results["n_documents"] == len(Path("dev.jsonl").read_text().splitlines())


def test_a_study_of_relations_and_mentions(related_workplace: Path, mslm: Mslm) -> None:
    Path("text.txt").write_text("\n\n".join(["the patients with heart failure were treated with aspirin ."] * 20))
    Path("study.toml").write_text(
        """
model = "encoder"
text = ["text.txt"]
train_text = false
probes = false
seeds = [1]
shards = { max_length = 64 }
adapt = { tokens = 200, tokens_per_step = 128, head_warmup_steps = 2 }
finetune = { epochs = 1, learning_rate = 0.02, tokens_per_step = 128 }

[[data]]
name = "relations of drugs"
task = "relations"
finetune = { pairs = "document" }
train = "train.pubtator"
dev = "dev.pubtator"
test = "test.pubtator"

[[data]]
name = "mentions"
train = "train.pubtator"
dev = "dev.pubtator"
test = "test.pubtator"

[[arm]]
kind = "word"
"""
    )
    run(mslm, "sweep", "study.toml", "-o", "study", "--threads", "1")
    verdict = json.loads(Path("study/verdict.json").read_bytes())
    assert verdict["metrics"] == {"relations of drugs": "relation F1", "mentions": "strict F1"}
    assert verdict["primary_metric"] == "F1"
    (vanilla, word) = verdict["arms"]
    assert "sentence: same" in vanilla["data"]["relations of drugs"]["slices"]
    assert vanilla["data"]["relations of drugs"]["outcomes"] == {}
    slices = vanilla["data"]["mentions"]["slices"]
    assert slices["in train: seen"]["n_gold"] == 60, "the same file is read as mentions here"
    assert slices["in train: unseen"]["n_gold"] == 0
    assert word["over_vanilla"] is not None
    assert len(list(Path("study/work").glob("shards-*"))) == 1, "both tasks share the shards of the text"
    page = Path("study/index.html").read_text()
    assert "relations of drugs: relation F1" in page
    assert "mentions: strict F1" in page


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="the task needs torch")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('folds = 2\n[[arm]]\nkind = "word"', "needs dev and test"),
        ('dev = "d"\ntest = "t"\n[[arm]]\nkind = "augment"', "an arm of kind 'augment' is for tasks of sentences"),
        ('dev = "d"\ntest = "t"\nfinetune = {pair = 1}\n[[arm]]\nkind = "word"', "finetune.pair of data set 'a'"),
        (
            'dev = "d"\ntest = "t"\nfinetune = {mask_words = 0.1}\n[[arm]]\nkind = "word"',
            "study.toml: data set 'a': finetune.mask_words does not apply to task 'relations'",
        ),
        (
            'dev = "d"\ntest = "t"\n[[arm]]\nkind = "finetune"\nfinetune = {mlm = 0.1}',
            "study.toml: data set 'a': finetune.mlm does not apply to task 'relations'",
        ),
        (
            'dev = "d"\ntest = "t"\n[[arm]]\nkind = "word"\n[finetune]\ntask = "relation"\n[[data]]\n'
            'name = "b"\ntrain = "y"\ndev = "e"\ntest = "u"',
            "study.toml: data set 'b': unknown task 'relation'",
        ),
    ],
)
def test_what_a_study_cannot_do_with_relations(in_tmp: Path, mslm: Mslm, change: str, said: str) -> None:
    Path("study.toml").write_text(f'[[data]]\nname = "a"\ntask = "relations"\ntrain = "x"\n{change}\n')
    refused = mslm("sweep", "study.toml", "-o", "study")
    assert refused.exit_code == 2
    assert said in refused.stderr
