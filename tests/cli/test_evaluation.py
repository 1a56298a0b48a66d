"""``mslm eval``: any system's predictions, what bad ones are told, and what was seen before the test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import Result

from mslm_cli import fsio

Mslm = Callable[..., Result]
EXAMPLE = Path(__file__).parents[1] / "data" / "scores" / "predictions.jsonl"

THREE = """\
-DOCSTART- (1)

Patients O O
with O O
breast B-Disease B-Disease
cancer I-Disease I-Disease
took O O
aspirin B-Drug B-Disease

No O O
acute B-Disease O
kidney I-Disease B-Disease
failure I-Disease I-Disease
. O O

-DOCSTART- (2)

Warfarin B-Drug O
was O B-Drug
stopped O O
"""


def results(mslm: Mslm, *arguments: object) -> dict[str, Any]:
    done = mslm("eval", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    schema = json.loads((fsio.resource("schemas") / "results.schema.json").read_bytes())
    Draft202012Validator(schema).validate(found)
    return found


def refused(mslm: Mslm, *arguments: object, exit_code: int = 3) -> str:
    done = mslm("eval", *arguments)
    assert (done.exit_code, done.stdout) == (exit_code, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_two_columns_of_tags_by_space_or_tab(in_tmp: Path, mslm: Mslm) -> None:
    Path("out.tsv").write_text(THREE)
    Path("tabs.tsv").write_text(THREE.replace(" ", "\t"))
    found, with_tabs = results(mslm, "--predictions", "out.tsv"), results(mslm, "--predictions", "tabs.tsv")
    assert found["exact_match"] == with_tabs["exact_match"]
    match = found["exact_match"]
    assert (match["gold"], match["predicted"], match["correct"]) == (4, 4, 1)
    assert {kind: of["n"] for kind, of in found["errors"].items()} == {
        "wrong_boundary": 1,
        "wrong_type": 1,
        "wrong_boundary_and_type": 0,
        "missed": 1,
        "spurious": 1,
    }
    assert found["errors"]["missed"]["examples"] == [{"sentence": "2:1", "gold": [0, 1, "Drug"], "predicted": None}]
    assert (found["n_documents"], found["resampled"]["unit"], found["resampled"]["n"]) == (2, "documents", 2)
    assert (found["confidence"], found["slices"]["in_lexicon"], found["data"]) == (None, None, None)
    assert (found["system"]["kind"], found["system"]["name"]) == ("predictions", "out.tsv")


def test_gold_from_another_file(in_tmp: Path, mslm: Mslm) -> None:
    Path("out.tsv").write_text(THREE)
    rows = [line.split(" ") for line in THREE.splitlines()]
    Path("gold.tsv").write_text("\n".join(" ".join(row[:2]) for row in rows) + "\n")
    Path("pred.tsv").write_text("\n".join(" ".join([row[0], *row[2:]]) for row in rows) + "\n")
    one = results(mslm, "--predictions", "out.tsv")
    other = results(mslm, "--predictions", "pred.tsv", "--data", "gold.tsv")
    assert one["exact_match"] == other["exact_match"]
    assert other["data"]["name"] == "gold.tsv"


def test_predictions_score_the_same_again(in_tmp: Path, mslm: Mslm) -> None:
    """With orphans on both sides: what is in predictions.jsonl is all that the scores come from."""
    text = THREE.replace("was O B-Drug", "was O I-Drug").replace("acute B-Disease O", "acute I-Disease O")
    Path("out.tsv").write_text(text)
    made = mslm("eval", "--predictions", "out.tsv", "-o", "scores")
    assert made.exit_code == 0
    assert "1 gold mentions start with I- instead of B-" in made.stderr
    assert "1 predicted I- tags continue no mention" in made.stderr
    first = json.loads(Path("scores/results.json").read_text())
    again = results(mslm, "--predictions", "scores/predictions.jsonl")
    for part in ("exact_match", "seqeval", "conlleval", "partial_match", "errors", "slices", "length_bias"):
        assert first[part] == again[part], part
    assert first["seqeval"]["strict"]["gold"] == 3
    assert first["seqeval"]["default"]["predicted"] == 4
    assert (first["n_orphan_tags"], first["n_predicted_orphan_tags"]) == (1, 1)
    schema = json.loads((fsio.resource("schemas") / "predictions.schema.json").read_bytes())
    for line in Path("scores/predictions.jsonl").read_text().splitlines():
        Draft202012Validator(schema).validate(json.loads(line))


def test_predictions_without_text(in_tmp: Path, mslm: Mslm) -> None:
    full = results(mslm, "--predictions", EXAMPLE)
    rows = [json.loads(line) for line in EXAMPLE.read_text().splitlines()]
    from mslm_cli.corpus.seen import sentence_hash

    for row in rows:
        words = row.pop("words")
        row |= {"n_words": len(words), "hash": f"{sentence_hash(' '.join(words)):016x}"}
    Path("no-text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bare = results(mslm, "--predictions", "no-text.jsonl")
    assert {k: v for k, v in bare.items() if k not in ("system", "n_sentences_checked")} == {
        k: v for k, v in full.items() if k not in ("system", "n_sentences_checked")
    }
    shown = mslm("eval", "--predictions", "no-text.jsonl", "--train", EXAMPLE.parents[3] / "resources/sample/train.tsv")
    assert "the predictions have no text" in shown.stderr
    assert "missed, sentence" in mslm("eval", "--predictions", EXAMPLE).stdout
    assert "missed, sentence" not in shown.stdout


def test_mentions_may_come_in_any_order(in_tmp: Path, mslm: Mslm) -> None:
    row = {"words": list("abc"), "gold": [[2, 3, "X"], [0, 1, "X"]], "pred": [[1, 2, "X"], [0, 1, "X"]]}
    Path("one.jsonl").write_text(json.dumps(row | {"scores": [0.2, 0.9]}) + "\n")
    row["pred"] = row["pred"][::-1]
    Path("other.jsonl").write_text(json.dumps(row | {"scores": [0.9, 0.2]}) + "\n")
    one, other = (results(mslm, "--predictions", name) for name in ("one.jsonl", "other.jsonl"))
    assert one["confidence"] == other["confidence"]
    assert one["confidence"]["average_precision"] == 0.5


def test_tags_of_other_schemes_are_read_by_them(in_tmp: Path, mslm: Mslm) -> None:
    gold = "a B-X\nb I-X\nc B-X\nd O\n"
    Path("gold.tsv").write_text(gold)
    Path("iobes.tsv").write_text("a B-X\nb E-X\nc S-X\nd O\n")
    Path("cut.tsv").write_text("a B-X\nb I-X\nc S-X\nd O\n")
    found = results(mslm, "--predictions", "iobes.tsv", "--data", "gold.tsv")
    assert (found["predicted_tag_scheme"], found["exact_match"]["f1"]) == ("IOBES", 1.0)
    # a mention that comes to no end is none where ends are marked
    assert results(mslm, "--predictions", "cut.tsv", "--data", "gold.tsv")["exact_match"]["predicted"] == 1
    Path("io.tsv").write_text("a I-X\nb I-X\nc O\nd O\n")
    done = mslm("eval", "--predictions", "io.tsv", "--data", "gold.tsv")
    assert "2 predicted I- tags continue no mention" in done.stderr or "1 predicted I- tags" in done.stderr
    assert "no mentions were predicted; precision is 0 by convention" in done.stderr


@pytest.mark.parametrize(
    ("tags", "scheme", "f1", "n_outside"),
    [
        ("B-X/B-X I-X/I-X O/O B-X/I-X I-X/E-X O/O B-X/E-X O/O B-X/S-X", "IOBES", None, 5),
        ("B-X/B-X E-X/I-X O/O B-X/I-X E-X/E-X O/O S-X/E-X O/O S-X/S-X", "IOBES", (1.0, 0.4), 5),
        ("B-X/B-X L-X/I-X O/O B-X/I-X L-X/L-X O/O U-X/L-X O/O U-X/U-X", "BILOU", (1.0, 0.4), 5),
    ],
)
def test_tags_that_make_no_mention_are_counted_and_read_raw_by_seqeval(
    in_tmp: Path, mslm: Mslm, tags: str, scheme: str, f1: tuple[float, float] | None, n_outside: int
) -> None:
    Path("out.tsv").write_text("".join(f"w\t{pair}\n" for pair in tags.replace("/", "\t").split(" ")))
    done = mslm("eval", "--predictions", "out.tsv", "-o", "scores")
    assert done.exit_code == 0, done.stderr
    assert f"{n_outside} predicted tags make no mention in {scheme} and are ignored" in done.stderr
    found = json.loads(Path("scores/results.json").read_text())
    assert found["n_predicted_orphan_tags"] == n_outside
    assert found["seqeval"]["default"]["f1"] == found["conlleval"]["f1"] == 1.0
    if f1:
        assert (found["seqeval"]["default"]["f1"], found["seqeval"]["strict"]["f1"]) == f1
        assert f"scored by seqeval ({scheme})" in mslm("eval", "--predictions", "out.tsv").stdout
    again = results(mslm, "--predictions", "scores/predictions.jsonl")
    for part in (
        "exact_match",
        "seqeval",
        "conlleval",
        "tag_scheme",
        "predicted_tag_scheme",
        "n_predicted_orphan_tags",
    ):
        assert found[part] == again[part], part


def test_several_tags_in_a_cell_are_refused_with_a_hint(in_tmp: Path, mslm: Mslm) -> None:
    Path("out.tsv").write_text("a\tO\tO\nb\tB-D\tB-D|B-E\n")
    done = mslm("eval", "--predictions", "out.tsv")
    assert done.exit_code == 3
    assert "out.tsv:2: several tags in one cell: 'B-D|B-E'" in done.stderr
    assert "one tag for each word" in done.stderr
    Path("mixed.tsv").write_text("a\tB-D\tS-D\nb\tB-D\tU-D\n")
    done = mslm("eval", "--predictions", "mixed.tsv")
    assert (done.exit_code, "IOBES" in done.stderr, "BILOU" in done.stderr) == (3, True, True)


def test_gold_tags_without_b_do_not_join_predicted_mentions(in_tmp: Path, mslm: Mslm) -> None:
    Path("gold.tsv").write_text("a I-X\nb I-X\nc O\n\nd O\ne I-X\n")
    two = {"words": list("abc"), "pred": [[0, 1, "X"], [1, 2, "X"]], "scores": [0.9, 0.8]}
    orphan = {"words": list("de"), "pred": [], "pred_tags": ["O", "I-X"]}
    Path("pred.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (two, orphan)))
    found = results(mslm, "--predictions", "pred.jsonl", "--data", "gold.tsv")
    assert (found["tag_scheme"], found["predicted_tag_scheme"], found["n_predicted_orphan_tags"]) == ("IO", "IOB2", 1)
    assert [found["exact_match"][k] for k in ("gold", "predicted", "correct")] == [2, 2, 0]
    # tags in columns that could be of either scheme are taken to be of the gold's
    Path("pred.tsv").write_text("a I-X\nb I-X\nc O\n\nd O\ne I-X\n")
    assert results(mslm, "--predictions", "pred.tsv", "--data", "gold.tsv")["exact_match"]["correct"] == 2


def test_predictions_do_not_depend_on_the_gold_tag_scheme(workplace: Path, mslm: Mslm) -> None:
    content = Path("test.tsv").read_text()
    Path("io.tsv").write_text(content.replace("\tB", "\tI"))
    one, other = (results(mslm, "ner", "--data", name) for name in ("test.tsv", "io.tsv"))
    assert (one["tag_scheme"], other["tag_scheme"]) == ("IOB2", "IO")
    assert one["exact_match"]["predicted"] == other["exact_match"]["predicted"] > 0
    assert one["n_predicted_orphan_tags"] == other["n_predicted_orphan_tags"]


@pytest.mark.parametrize(
    ("predicted", "said"),
    [
        ("Aa O\nBb O\n\nCc O\n", "pred.tsv:4: sentence 2 has 1 words, 2 in gold.tsv"),
        ("Aa O\nBb O\n", "pred.tsv:1: 1 sentences, 2 in gold.tsv"),
        ("Aa O\nBb O\n\nCc O\nDd O\n\nEe O\n", "pred.tsv:7: 3 sentences, 2 in gold.tsv"),
        ("Aa O\nBx O\n\nCc O\nDd O\n", "pred.tsv:2: sentence 1: word 2 is 'Bx', in gold.tsv 'Bb'"),
        ("Aa O\nB O\nb O\n\nCc O\nDd O\n", "pred.tsv:2: sentence 1 is the same text in other words: 'B' here, 'Bb' in"),
        ("Aa O\nBb B-\n\nCc O\nDd O\n", "pred.tsv:2: unknown tag 'B-'"),
        ("", "pred.tsv: the file is empty"),
        ("a\tB-D\tB-D\rb\tO\tB-D\r", "pred.tsv:1: a carriage return inside the line"),
        ('{"pred": []}\n', "pred.tsv:1: no words in the sentence"),
        ('{"words": ["Aa", "Bb"]}\n', "pred.tsv:1: no pred in the sentence"),
        ('{"words": ["Aa", "Bb"], "pred": [[0, 3, "X"]]}\n', "pred.tsv:1: pred: [0, 3) does not fit"),
        ('{"words": ["Aa", "Bb"], "pred": [[0, 2, "X"], [1, 2, "Y"]]}\n', "pred.tsv:1: pred: [0, 2) overlaps [1, 2)"),
        ('{"words": ["Aa", "Bb"], "pred": [[0, 1, 3]]}\n', "pred.tsv:1: pred: expected [start, end, type]"),
        ('{"words": ["Aa", "Bb"], "pred": [[0, 1, "X"]], "scores": []}\n', "pred.tsv:1: scores: expected a list of 1"),
        ('{"words": ["Aa"], "pred": [[0, 1, "X"]], "scores": [2]}\n', "scores: expected probabilities from 0 to 1"),
        ('{"words": ["Aa"], "pred": []}\n', "pred.tsv:1: sentence 1 has 1 words, 2 in gold.tsv"),
        ('{"words": ["Aa", "Bb"], "pred": []\n', "pred.tsv:1: not a JSON line"),
    ],
)
def test_predictions_that_do_not_match_the_data(in_tmp: Path, mslm: Mslm, predicted: str, said: str) -> None:
    Path("gold.tsv").write_text("Aa O\nBb B-X\n\nCc O\nDd O\n")
    Path("pred.tsv").write_text(predicted)
    assert said in refused(mslm, "--predictions", "pred.tsv", "--data", "gold.tsv")


def test_a_file_with_one_column_of_tags_needs_the_gold(in_tmp: Path, mslm: Mslm) -> None:
    Path("pred.tsv").write_text("Aa O\nBb B-X\n")
    assert "expected a word, its gold tag and its predicted tag" in refused(mslm, "--predictions", "pred.tsv")


def test_neither_or_both_of_model_and_predictions(in_tmp: Path, mslm: Mslm) -> None:
    for arguments in ([], ["ner"], ["--data", "x"], ["ner", "--predictions", "x", "--data", "y"]):
        assert "expected a NER model and --data FILE, or --predictions FILE" in refused(mslm, *arguments, exit_code=2)


def test_a_test_set_without_mentions(in_tmp: Path, mslm: Mslm) -> None:
    Path("out.tsv").write_text("Aa O O\nBb O O\n\nCc O B-X\n")
    found = results(mslm, "--predictions", "out.tsv")
    match = found["exact_match"]
    assert [match[s] for s in ("precision", "recall", "f1")] == [0.0, 0.0, 0.0]
    assert match["intervals"]["recall"] == [0.0, 0.0]
    done = mslm("eval", "--predictions", "out.tsv")
    assert "the test set has no mentions; precision, recall and F1 are 0 by convention" in done.stderr
    assert "predicted types without gold mentions, always wrong: X" in done.stderr
    Path("none.tsv").write_text("Aa O O\n")
    assert results(mslm, "--predictions", "none.tsv")["partial_match"]["partial"]["f1"] == 0.0
    assert mslm("eval", "--predictions", "none.tsv", "--conlleval").exit_code == 0


def test_types_that_are_never_predicted_are_named(in_tmp: Path, mslm: Mslm) -> None:
    Path("out.tsv").write_text("Aa B-X B-X\nBb B-Y O\n")
    done = mslm("eval", "--predictions", "out.tsv")
    assert "types that are never predicted: Y" in done.stderr
    assert results(mslm, "--predictions", "out.tsv")["types_unknown_to_model"] == ["Y"]


def test_slices_by_train_and_lexicon(in_tmp: Path, mslm: Mslm) -> None:
    train = "Breast\tB-Disease\ncancer\tI-Disease\n\nbreast\tB-Disease\ncancer\tI-Disease\n\nASA\tB-Drug\n"
    Path("train.tsv").write_text(train)
    Path("terms.txt").write_text("kidney failure\nAcute Kidney Failure\nASP\n")
    assert mslm("extract-terms", "--terms", "terms.txt", "--pipeline", "none", "-o", "lexicon").exit_code == 0
    Path("out.tsv").write_text(THREE + "asp B-Drug O\nASP B-Drug O\n")
    found = results(mslm, "--predictions", "out.tsv", "--train", "train.tsv", "--lexicon", "lexicon")["slices"]

    def counts(of: dict[str, Any]) -> tuple[int, int, int]:
        return of["gold"], of["predicted"], of["correct"]

    assert {name: counts(of) for name, of in found["seen_in_train"].items()} == {"seen": (1, 1, 1), "unseen": (5, 3, 0)}
    frequency = {name: counts(of) for name, of in found["train_frequency"].items() if of["gold"]}
    assert frequency == {"0": (5, 3, 0), "2-4": (1, 1, 1)}
    # "ASP" is a short form in capitals: "asp" is not in the lexicon
    assert {name: counts(of) for name, of in found["in_lexicon"].items()} == {"in": (2, 1, 0), "not in": (4, 3, 1)}
    assert {name: of["gold"] for name, of in found["length"].items()} == {"1": 4, "2": 1, "3+": 1}


def test_tables_go_to_stdout_without_an_output_and_to_stderr_with_one(in_tmp: Path, mslm: Mslm) -> None:
    alone = mslm("eval", "--predictions", EXAMPLE)
    assert alone.stdout.startswith("strict exact match")
    assert "\x1b" not in alone.stdout
    written = mslm("eval", "--predictions", EXAMPLE, "-o", "scores")
    assert written.stdout == "scores\n"
    assert alone.stdout in written.stderr
    assert mslm("eval", "--predictions", EXAMPLE, "-q", "--conlleval").stdout.startswith("processed 1111 tokens")


def test_tables_as_latex(in_tmp: Path, mslm: Mslm) -> None:
    Path("out.tsv").write_text(THREE.replace("Disease", "A_&%"))
    shown = mslm("eval", "--predictions", "out.tsv", "--latex").stdout
    assert shown.startswith(
        "% strict exact match (boundaries and type)\n\\begin{tabular}{lrrrrrr}\n\\toprule\ntype & P &"
    )
    assert "A\\_\\&\\% & 33.33 & 50.00 & 40.00 & " in shown
    assert shown.count("\\begin{tabular}") == shown.count("\\end{tabular}") == 5
    rows = [line for line in shown.splitlines() if line.endswith("\\\\")]
    assert {len(row.replace("\\&", "").split("&")) for row in rows[:3]} == {7}


def test_test_sentences_seen_at_any_stage_are_counted(workplace: Path, mslm: Mslm) -> None:
    """Leaks are planted at each stage of the chain, and named by it in front of the scores."""
    leaks = Path("test.tsv").read_text().split("\n\n")
    train = Path("train.tsv").read_text()

    def as_text(blocks: list[str]) -> str:
        return "\n\n".join(" ".join(row.split("\t")[0] for row in block.splitlines()) for block in blocks) + "\n"

    Path("clean.txt").write_text(as_text(train.split("\n\n")))
    Path("for-lexicon.txt").write_text(as_text([*train.split("\n\n"), *leaks[:1]]))
    Path("for-shards.txt").write_text(as_text([*train.split("\n\n"), *leaks[1:3]]))
    Path("leaky-dev.tsv").write_text("\n\n".join([Path("dev.tsv").read_text().rstrip("\n"), leaks[6]]) + "\n")
    Path("for-tuning.tsv").write_text("\n\n".join([train.rstrip("\n"), *leaks[3:6]]) + "\n")
    for lexicon, shards, tuning, dev, name in (
        ("clean.txt", "clean.txt", "train.tsv", "dev.tsv", "clean"),
        ("for-lexicon.txt", "for-shards.txt", "for-tuning.tsv", "leaky-dev.tsv", "leaky"),
    ):
        for command in (
            f"extract-terms {lexicon} --pipeline none -o {name}-lexicon",
            f"preprocess {shards} --lexicon {name}-lexicon --model encoder --max-length 64 -o {name}-shards",
            f"adapt {name}-shards --model encoder --epochs 0 --head-warmup-steps 1 --threads 1 -o {name}-adapted",
            f"finetune --train {tuning} --dev {dev} --model {name}-adapted --epochs 1 --threads 1 -o {name}-ner",
        ):
            made = mslm(*command.split())
            assert made.exit_code == 0, made.stderr
    clean, leaky = (results(mslm, f"{name}-ner", "--data", "test.tsv") for name in ("clean", "leaky"))
    assert clean["seen_upstream"] == {"extract-terms": 0, "finetune-dev": 0, "finetune-train": 0, "preprocess": 0}
    assert leaky["seen_upstream"] == {"extract-terms": 1, "finetune-dev": 1, "finetune-train": 3, "preprocess": 2}
    assert (clean["n_seen_upstream"], leaky["n_seen_upstream"], leaky["n_sentences_checked"]) == (0, 7, 15)
    shown = mslm("eval", "leaky-ner", "--data", "test.tsv")
    for stage, n in leaky["seen_upstream"].items():
        assert f"warning: {n} of 15 sentences were seen by `{stage}`: the scores are likely inflated" in shown.stderr
    assert "none of 15 sentences was seen upstream" in mslm("eval", "clean-ner", "--data", "test.tsv").stderr


def test_predictions_alone_have_no_sketches(in_tmp: Path, mslm: Mslm) -> None:
    shown = mslm("eval", "--predictions", EXAMPLE)
    assert "the system's training data are unknown" in shown.stderr
    rows = [json.loads(line) for line in EXAMPLE.read_text().splitlines()]
    Path("train.tsv").write_text("\n\n".join("\n".join(f"{w}\tO" for w in row["words"]) for row in rows[:4]) + "\n")
    with_train = mslm("eval", "--predictions", EXAMPLE, "--train", "train.tsv")
    n_telling = results(mslm, "--predictions", EXAMPLE, "--train", "train.tsv")["seen_upstream"]["train"]
    assert n_telling == 4
    assert "4 of 81 sentences were seen by `train`: the scores are likely inflated" in with_train.stderr
