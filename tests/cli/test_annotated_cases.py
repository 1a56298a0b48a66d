"""Small annotated files that a careless reader takes for text, through every command that reads data."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from mslm_cli import models
from mslm_cli.masking.shards import ShardReader

Mslm = Callable[..., Result]
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
MENTIONS = {
    "brat_folder": {"Disease": 2, "Drug": 1},
    "pubtator.txt": {"Chemical": 2, "Disease": 2},
    "bioc.json": {"Disease": 1},
    "doccano.jsonl": {"Disease": 1},
}
"""The gold mentions of each, by type."""

N_ZORBLATITIS = {"brat_folder": 2, "pubtator.txt": 2, "bioc.json": 1, "doccano.jsonl": 1}
LABELS = ("disease", "drug", "chemical", "annotator", "reference", "mesh", "chebi", "d0001", "c0001", "infons", "1234|")


@pytest.mark.parametrize("name", MENTIONS)
def test_annotated_files_are_read_as_what_they_are(workplace: Path, mslm: Mslm, name: str) -> None:
    case = CASES / name
    if not case.exists():
        pytest.skip("the hostile cases (shared/cases beside the repository) are not here")
    Path("terms.txt").write_text("zorblatitis\nquuxamab\n")
    made = mslm("extract-terms", case, "--terms", "terms.txt", "--pipeline", "none", "-o", "terms")
    assert made.exit_code == 0, made.stderr
    assert no_label_in(Path("terms/terms.jsonl").read_text())
    arguments = ("--lexicon", "terms", "--model", "encoder", "--max-length", 64, "-o", "masked")
    made = mslm("preprocess", case, *arguments)
    assert made.exit_code == 0, made.stderr
    reader = ShardReader(Path("masked"))
    tokens = models.load_tokenizer(Path("encoder")).decode(reader.input_ids(np.arange(len(reader)))[1].tolist())
    assert "".join(tokens.split()).count("zorblatitis") == N_ZORBLATITIS[name]
    assert no_label_in("".join(tokens.split()))
    matched = mslm("match", case, "--lexicon", "terms")
    found = [json.loads(line)["term"] for line in matched.stdout.splitlines()]
    assert found.count("zorblatitis") == N_ZORBLATITIS[name]
    predicted = mslm("predict", "ner", case, "--to", "conll")
    assert predicted.exit_code == 0, predicted.stderr
    words = [line.split("\t")[0] for line in predicted.stdout.splitlines() if "\t" in line]
    assert no_label_in(" ".join(words))
    trained = mslm(
        *("finetune", "--train", case, "--dev", case, "--model", "encoder"),
        *("--epochs", 1, "--threads", 1, "-o", "trained"),
    )
    assert trained.exit_code == 0, trained.stderr
    labels = json.loads(Path("trained/config.json").read_bytes())["id2label"].values()
    assert {label[2:] for label in labels if label != "O"} == MENTIONS[name].keys()
    (counts,) = json.loads(mslm("inspect", case, "--json").stdout)["sets"].values()
    assert counts["types"] == MENTIONS[name]


def no_label_in(text: str) -> bool:
    return not any(label in text.lower() for label in LABELS)
