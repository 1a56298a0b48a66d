"""The five commands one after the other, with a tiny encoder, and what they leave."""

import json
import platform
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from typer.testing import CliRunner, Result

from mslm_cli.cli.app import app
from mslm_cli.corpus.labels import tags_from_mentions

DISEASES = ["acute kidney failure", "breast cancer", "diabetes mellitus", "familial colon cancer", "heart failure"]
DRUGS = ["aspirin", "warfarin"]


def sentence(i: int, n_filler: int = 0) -> str:
    """A sentence with a disease and a drug, one word and tag a line."""
    disease, drug = DISEASES[i % len(DISEASES)].split(), DRUGS[i % len(DRUGS)]
    rows = [f"patient{i}\tO", "with\tO", *["and\tO"] * n_filler, f"{disease[0]}\tB-Disease"]
    rows += [f"{word}\tI-Disease" for word in disease[1:]]
    return "\n".join([*rows, "treated\tO", f"{drug}\tB-Drug", ".\tO"]) + "\n"


def mslm(*arguments: str | Path, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A folder in which the whole chain has run; its test data hold one training sentence and one of 90 words."""
    folder = tmp_path_factory.mktemp("chain")
    train, dev, test = (folder / f"{name}.tsv" for name in ("train", "dev", "test"))
    train.write_text("\n".join(sentence(i) for i in range(60)))
    dev.write_text("\n".join(sentence(i) for i in range(60, 75)))
    documents = ["-DOCSTART-\tPMID7\n", *(sentence(i) for i in range(80, 90)), "-DOCSTART-\tPMID8\n"]
    test.write_text("\n".join([*documents, sentence(91, n_filler=90), sentence(3)]))
    text = folder / "abstracts.txt"
    text.write_text(
        "\n\n".join(f"Patients with {d} were treated after {d}. The study was acute." for d in DISEASES * 8)
    )
    fast = ("--model", tiny_encoder, "--threads", "1", "--tokens-per-step", "256")
    mslm("extract-terms", text, train, "-o", folder / "lexicon")
    mslm("preprocess", text, train, "--lexicon", folder / "lexicon", "--model", tiny_encoder, "--max-length", "32",
         "--copies", "2", "-o", folder / "shards")  # fmt: skip
    mslm("adapt", folder / "shards", "--epochs", "2", "--head-warmup-steps", "3", *fast, "-o", folder / "adapted")
    mslm("finetune", "--train", train, "--dev", dev, "--epochs", "25", "--learning-rate", "0.005", *fast,
         "--model", folder / "adapted", "-o", folder / "ner")  # fmt: skip
    result = mslm("eval", folder / "ner", "--data", test, "-o", folder / "scores", "--json")
    (folder / "stdout.json").write_text(result.stdout)
    (folder / "stderr.txt").write_text(result.stderr)
    return folder


def results(chain: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((chain / "scores" / "results.json").read_text())
    return loaded


def predictions(chain: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (chain / "scores" / "predictions.jsonl").read_text().splitlines()]


def test_json_on_stdout_is_results_json(chain: Path) -> None:
    assert json.loads((chain / "stdout.json").read_text()) == results(chain)


def test_the_model_learns_the_training_data(chain: Path) -> None:
    assert results(chain)["exact_match"]["f1"] > 0.8


def test_scores_are_those_of_seqeval_strict(chain: Path) -> None:
    rows = predictions(chain)
    gold, predicted = (
        [tags_from_mentions([tuple(m) for m in row[key]], len(row["words"])) for row in rows]
        for key in ("gold", "pred")
    )
    match = results(chain)["exact_match"]
    assert match["mode"] == "strict"
    for key, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert match[key] == pytest.approx(score(gold, predicted, mode="strict", scheme=IOB2), abs=1e-12)
    assert match["gold"] == 24
    assert set(match["per_type"]) == {"Disease", "Drug"}


def test_long_sentences_keep_all_gold_mentions(chain: Path) -> None:
    long = next(row for row in predictions(chain) if len(row["words"]) > 64)
    assert long["gold"] == [[92, 94, "Disease"], [95, 96, "Drug"]]


def test_document_ids_are_kept_through_to_predictions(chain: Path) -> None:
    rows = predictions(chain)
    assert [row["doc"] for row in rows] == ["PMID7"] * 10 + ["PMID8"] * 2
    assert [row["id"] for row in rows[-2:]] == ["PMID8:1", "PMID8:2"]


def test_test_sentences_seen_upstream_are_counted_and_reported(chain: Path) -> None:
    seen = results(chain)["seen_upstream"]
    assert seen["finetune-train"] == 1
    assert {name for name, n in seen.items() if n == 1} == {"finetune-train", "preprocess", "extract-terms"}
    assert "1 of 12 sentences were seen by `finetune-train`" in (chain / "stderr.txt").read_text()


def test_the_adapted_encoder_is_a_standard_checkpoint(chain: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model, report = AutoModelForMaskedLM.from_pretrained(chain / "adapted", output_loading_info=True)
    assert not report["missing_keys"]
    tokenizer = AutoTokenizer.from_pretrained(chain / "adapted")
    assert len(tokenizer) == model.config.vocab_size


def test_the_ner_model_opens_in_a_pipeline(chain: Path) -> None:
    from transformers import pipeline

    tagger = pipeline("token-classification", model=str(chain / "ner"), aggregation_strategy="first", device="cpu")
    rows = [row for row in predictions(chain) if row["pred"] == row["gold"] and len(row["words"]) < 20]
    assert rows
    for row in rows:
        found = tagger(" ".join(row["words"]))
        mentions = [(kind, " ".join(row["words"][start:end])) for start, end, kind in row["pred"]]
        assert [(e["entity_group"], e["word"]) for e in found] == mentions


def test_adaptation_trains_the_head_and_then_the_encoder(chain: Path, tiny_encoder: Path) -> None:
    records = [json.loads(line) for line in (chain / "adapted" / "metrics.jsonl").read_text().splitlines()]
    records = [record for record in records if "held_out" not in record]
    assert [r["phase"] for r in records[:4]] == ["head", "head", "head", "adapt"]
    assert [r["step"] for r in records] == list(range(1, len(records) + 1))
    assert {"n", "loss", "top1"} == set(records[-1]["ds_term"])
    before, after = load_file(tiny_encoder / "model.safetensors"), load_file(chain / "adapted" / "model.safetensors")
    name = "encoder.layer.0.attention.self.query.weight"
    assert (before[name] != after[f"bert.{name}"]).any()


def test_artifacts_contain_no_path_and_no_machine_name(chain: Path) -> None:
    for manifest in chain.glob("*/manifest.json"):
        text = manifest.read_text()
        assert str(chain) not in text
        assert platform.node() not in text
    for folder in ("lexicon", "shards", "adapted", "ner", "scores"):
        assert (chain / folder).stat().st_mode & 0o077 == 0


def test_only_artifacts_are_left(chain: Path) -> None:
    kept = {"lexicon", "shards", "adapted", "ner", "scores"}
    assert {p.name for p in chain.iterdir() if p.is_dir()} == kept


def test_the_same_command_again_does_nothing(chain: Path) -> None:
    before = (chain / "scores" / "manifest.json").stat().st_mtime_ns
    result = mslm("eval", chain / "ner", "--data", chain / "test.tsv", "-o", chain / "scores")
    assert "up to date" in result.stderr
    assert result.stdout.strip() == str(chain / "scores")
    assert (chain / "scores" / "manifest.json").stat().st_mtime_ns == before


def test_a_manifest_repeats_what_made_it(chain: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    config = chain / "shards" / "manifest.json"
    mslm("preprocess", chain / "abstracts.txt", chain / "train.tsv", "--lexicon", chain / "lexicon",
         "--config", config, "--model", tiny_encoder, "-o", tmp_path / "again")  # fmt: skip
    one, two = (json.loads((f / "manifest.json").read_text()) for f in (chain / "shards", tmp_path / "again"))
    assert one["fingerprint"] == two["fingerprint"]
    assert one["files"] == two["files"]
