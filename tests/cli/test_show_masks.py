"""``mslm show-masks``: what a user reads, and what a program reads."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from mslm_cli import console
from mslm_cli.masking.shards import ShardReader
from mslm_cli.stages import show_masks

Mslm = Callable[..., Result]


def test_json_has_a_line_for_each_sequence(workplace: Path, mslm: Mslm) -> None:
    result = mslm("show-masks", "shards", "--n", 7, "--json")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 7
    reader, masks = ShardReader(Path("shards")), ShardReader(Path("shards")).epoch(0)
    for i, line in enumerate(lines):
        assert list(line) == ["ids", "input_ids", "word_ids", "kind", "spans"]
        assert line["ids"] == reader[i].input_ids.tolist()
        assert [-1 if word is None else word for word in line["word_ids"]] == reader[i].word_ids.tolist()
        assert line["word_ids"][0] is None
        assert line["spans"] == reader[i].spans.tolist()
        predicted = [p for p, kind in enumerate(line["kind"]) if kind]
        assert predicted == masks[i].positions.tolist()
        assert [line["kind"][p] for p in predicted] == masks[i].kinds.tolist()
        assert [line["input_ids"][p] for p in predicted] == masks[i].replacements.tolist()
        others = set(range(len(line["ids"]))) - set(predicted)
        assert all(line["input_ids"][p] == line["ids"][p] for p in others)


def test_epochs_are_counted_from_zero(workplace: Path, mslm: Mslm, tiny_encoder: Path) -> None:
    arguments = ["text.txt", "--strategy", "token", "--model", tiny_encoder, "--max-length", 64, "--copies", 2]
    assert mslm("preprocess", *arguments, "-o", "two").exit_code == 0
    first, again, second = (mslm("show-masks", "two", "--epoch", e, "--json").stdout for e in (0, 0, 1))
    assert first == again != second
    assert mslm("show-masks", "two", "--json").stdout == first
    refused = mslm("show-masks", "two", "--epoch", 2)
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert "masks for 2 epochs, none for epoch 2" in refused.stderr


def test_asking_for_too_many_sequences_shows_all(workplace: Path, mslm: Mslm) -> None:
    n = len(ShardReader(Path("shards")))
    assert len(mslm("show-masks", "shards", "--n", n + 5, "--json").stdout.splitlines()) == n
    assert mslm("show-masks", "shards", "--n", 0).exit_code == 2


def test_words_and_their_masks_are_plain_in_a_pipe(workplace: Path, mslm: Mslm) -> None:
    result = mslm("show-masks", "-", "--n", 60, stdin="shards\n")
    assert result.exit_code == 0, result.stderr
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    assert len(lines) == len(ShardReader(Path("shards")))
    assert all(line.startswith("[CLS] ") and line.endswith(" [SEP]") for line in lines)
    assert "{_chronic kidney disease_ -> [MASK] [MASK] [MASK]}" in result.stdout
    assert " _chronic kidney disease_ " in result.stdout
    assert "{with -> [MASK]}" in result.stdout
    assert re.search(r"\{(\w+) -> \1\}", result.stdout), "a predicted word that is left unchanged"


SEQUENCE = show_masks.MaskedSequence(
    ids=[2, 10, 11, 12, 13, 14, 15, 3],
    input_ids=[2, 4, 4, 12, 4, 20, 15, 3],
    word_ids=[None, 0, 1, 2, 3, 4, 5, None],
    kind=[0, 2, 2, 0, 1, 1, 1, 0],
    spans=[[1, 3], [3, 4]],
)


def test_every_outcome_has_its_own_look(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = show_masks.load_tokenizer(chain / "shards")
    runs = show_masks.styled(SEQUENCE, tokenizer)
    assert [run.look for run in runs] == [
        "special",
        "DS-term masked",
        "DS-term",
        "generic masked",
        "random",
        "kept",
        "special",
    ]
    assert set(show_masks.STYLES) == {run.look for run in runs} | {"text"}
    assert len(set(show_masks.STYLES.values())) == len(show_masks.STYLES)


def test_a_terminal_gets_colours(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    console.styled_result([("{entity: [a]", "bold red"), ("b", "")])
    assert capsys.readouterr().out == "\x1b[1;31m{entity: [a]\x1b[0m b\n"
    monkeypatch.delenv("FORCE_COLOR")
    console.styled_result([("{entity: [a]", "bold red"), ("b", "")])
    assert capsys.readouterr().out == "{entity: [a] b\n"


def test_a_folder_that_is_not_shards_is_an_artifact_error(workplace: Path, mslm: Mslm) -> None:
    refused = mslm("show-masks", "lexicon", "--json")
    assert refused.exit_code == 4
    assert "expected a shards artifact" in refused.stderr
