"""What is written fits the JSON schemas that ship."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mslm_cli import fsio

SCORES = Path(__file__).parents[1] / "data" / "scores"


def validator(name: str) -> Draft202012Validator:
    schema: dict[str, Any] = json.loads((fsio.resource("schemas") / f"{name}.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_example_validates() -> None:
    validator("results").validate(json.loads((SCORES / "results.json").read_bytes()))
    for line in (SCORES / "predictions.jsonl").read_text().splitlines():
        validator("predictions").validate(json.loads(line))


@pytest.mark.parametrize("part", ["version", "exact_match", "resampled", "errors", "slices", "confidence"])
def test_a_missing_part_does_not_validate(part: str) -> None:
    results = json.loads((SCORES / "results.json").read_bytes())
    del results[part]
    assert not validator("results").is_valid(results)


def test_a_number_outside_0_to_1_does_not_validate() -> None:
    results = json.loads((SCORES / "results.json").read_bytes())
    results["exact_match"]["f1"] = 86.6
    assert not validator("results").is_valid(results)
