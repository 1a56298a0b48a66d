"""``mslm compare``: arms by name and pattern, what it says and what it refuses."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import Result

from mslm_cli import fsio

Mslm = Callable[..., Result]
SCORES = Path(__file__).parents[1] / "data" / "scores" / "predictions.jsonl"


def write(path: Path, skill: float, seed: int, change: Callable[[list[dict[str, Any]]], object] | None = None) -> None:
    """The example's test set with the predictions of a system that finds a share ``skill`` of the mentions."""
    rng = random.Random(seed)
    rows = [json.loads(line) for line in SCORES.read_text().splitlines()]
    for row in rows:
        row["pred"] = [m for m in row["gold"] if rng.random() < skill]
        del row["scores"]
        row.pop("errors", None)
    if change:
        change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def runs(in_tmp: Path) -> Path:
    """Three runs each of a bad and of a good system, and one of another test set."""
    for seed in range(3):
        write(in_tmp / f"bad-{seed}.jsonl", 0.6, seed)
        write(in_tmp / f"good-{seed}.jsonl", 0.95, seed + 10)
    return in_tmp


def test_arms_by_name_pattern_and_list(runs: Path, mslm: Mslm) -> None:
    told = []
    for arms in (
        ["bad=bad-*.jsonl", "good=good-*.jsonl"],
        ["bad=bad-0.jsonl,bad-1.jsonl,bad-2.jsonl", "good=good-[012].jsonl"],
        [*(f"bad=bad-{i}.jsonl" for i in range(3)), *(f"good=good-{i}.jsonl" for i in range(3))],
    ):
        shown = mslm("compare", *arms, "--json")
        assert shown.exit_code == 0, shown.stderr
        told.append(json.loads(shown.stdout))
    assert told[0] == told[1] == told[2]
    assert [(arm["name"], arm["n_runs"]) for arm in told[0]["arms"]] == [("bad", 3), ("good", 3)]
    assert told[0]["arms"][0]["paths"] == ["bad-0.jsonl", "bad-1.jsonl", "bad-2.jsonl"]
    schema = json.loads((fsio.resource("schemas") / "comparison.schema.json").read_bytes())
    Draft202012Validator(schema).validate(told[0])


def test_a_real_difference_holds_up_and_is_counted(runs: Path, mslm: Mslm) -> None:
    (pair,) = json.loads(mslm("compare", "bad-0.jsonl", "good-0.jsonl", "--json").stdout)["comparisons"]
    assert pair["arms"] == ["bad-0.jsonl", "good-0.jsonl"]
    assert pair["holds_up"]
    of = pair["difference"]["f1"]
    assert 0 < of["low"] < of["value"] < of["high"]
    rows = [[json.loads(line) for line in Path(f"{name}-0.jsonl").read_text().splitlines()] for name in ("bad", "good")]
    found = [{(r["id"], *m) for r in side for m in r["pred"]} for side in rows]
    assert (pair["wins"], pair["losses"]) == (len(found[1] - found[0]), len(found[0] - found[1]))
    assert sum(of["wins"] for of in pair["slices"] if of["name"].startswith("words")) == pair["wins"]


def test_the_printed_tables(runs: Path, mslm: Mslm) -> None:
    shown = mslm("compare", "bad=bad-*.jsonl", "good=good-0.jsonl", "--show", "2")
    assert shown.exit_code == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "good - bad" in shown.stdout
    assert "one run of good: its intervals do not cover variation between seeds" in shown.stdout
    assert shown.stdout.count("\nsentence ") == 2
    assert shown.stdout.count("  gold: ") == 2


def test_eval_artifacts_are_compared(runs: Path, mslm: Mslm) -> None:
    for name in ("bad", "good"):
        made = mslm("eval", "--predictions", f"{name}-0.jsonl", "-o", name)
        assert made.exit_code == 0, made.stderr
    by_artifact, by_file = (
        json.loads(mslm("compare", *arms, "--json").stdout)["comparisons"]
        for arms in (("bad", "good"), ("bad=bad-0.jsonl", "good=good-0.jsonl"))
    )
    assert by_artifact == by_file


def test_an_arm_with_leaks_is_named(runs: Path, mslm: Mslm) -> None:
    rows = [json.loads(line) for line in SCORES.read_text().splitlines()]
    leak = "\n\n".join("\n".join(f"{word}\tO" for word in row["words"]) for row in rows[:4])
    Path("train.tsv").write_text(leak + "\n")
    assert mslm("eval", "--predictions", "bad-0.jsonl", "-o", "clean").exit_code == 0
    assert mslm("eval", "--predictions", "good-0.jsonl", "--train", "train.tsv", "-o", "leaky").exit_code == 0
    shown = mslm("compare", "clean", "leaky")
    assert shown.stderr == "warning: leaky: 4 of 81 sentences were seen upstream: it has an unfair advantage\n"


def test_scores_of_another_version_are_refused(runs: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bad", "good"):
        assert mslm("eval", "--predictions", f"{name}-0.jsonl", "-o", name).exit_code == 0
    monkeypatch.setattr("mslm_cli.stages.compare.RESULTS_VERSION", 3)
    refused = mslm("compare", "bad", "good")
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert "bad: expected version 3 of results.json, found 2" in refused.stderr


def _less(rows: list[dict[str, Any]]) -> None:
    del rows[-1]


def _other_word(rows: list[dict[str, Any]]) -> None:
    rows[1]["words"][0] = "Odd"


def _other_gold(rows: list[dict[str, Any]]) -> None:
    rows[2]["pred"] = []
    del rows[2]["gold"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_less, "80 sentences instead of 81"),
        (_other_word, "sentence 2 (test-001:2) has 'Odd' instead of 'In' as word 1"),
        (_other_gold, "sentence 3 (test-001:3) lacks the gold mention [0, 1) Drug"),
    ],
)
def test_a_different_test_set_is_refused_with_the_first_difference(
    runs: Path, mslm: Mslm, change: Callable[[list[dict[str, Any]]], object], said: str
) -> None:
    write(runs / "other.jsonl", 0.9, 1, change)
    refused = mslm("compare", "good-0.jsonl", "other.jsonl")
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "other.jsonl: not the test set of good-0.jsonl" in refused.stderr
    assert said in refused.stderr


@pytest.mark.parametrize(
    ("arms", "exit_code", "said"),
    [
        (["good-0.jsonl"], 2, "at least two arms"),
        (["a=good-0.jsonl", "a=bad-0.jsonl"], 2, "at least two arms"),
        (["a=none-*.jsonl", "good-0.jsonl"], 2, "none-*.jsonl: no such file or folder"),
        (["a=good-0.jsonl,good-0.jsonl", "bad-0.jsonl"], 2, "good-0.jsonl is given twice in a"),
        (["good-0.jsonl", "none.jsonl"], 3, "none.jsonl: no such file"),
        (["good-0.jsonl", "."], 4, "expected an eval artifact"),
    ],
)
def test_invalid_comparisons_are_refused(runs: Path, mslm: Mslm, arms: list[str], exit_code: int, said: str) -> None:
    refused = mslm("compare", *arms)
    assert (refused.exit_code, refused.stdout) == (exit_code, "")
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_predictions_with_and_without_text_can_be_compared(runs: Path, mslm: Mslm) -> None:
    from mslm_cli.corpus.seen import sentence_hash

    def without_text(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            words = row.pop("words")
            row |= {"n_words": len(words), "hash": f"{sentence_hash(' '.join(words)):016x}"}

    write(runs / "bare.jsonl", 0.6, 0, without_text)
    full, bare = (mslm("compare", f"a={name}", "good-0.jsonl", "--json") for name in ("bad-0.jsonl", "bare.jsonl"))
    assert json.loads(full.stdout)["comparisons"] == json.loads(bare.stdout)["comparisons"]
    write(runs / "bare-too.jsonl", 0.9, 1, without_text)
    with_text, without = (
        mslm("compare", "bare.jsonl", other, "--show", "1").stdout for other in ("good-0.jsonl", "bare-too.jsonl")
    )
    assert "|Disease]" in with_text
    assert "|Disease]" not in without
    assert ") Disease" in without
