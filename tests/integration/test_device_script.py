"""The steps of benchmarks/device/run.sh run where neither spaCy nor seqeval is, at tiny sizes, on a CPU."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ABSENT = ("spacy", "scispacy", "seqeval", "thinc", "sklearn", "datasets", "accelerate", "huggingface_hub.inference")
STEPS = ("equality", "waits", "product", "profile", "trials")
RUN = """
import sys, checks
for step in sys.argv[1:]:
    sys.argv = ["checks.py", step, f"{step}.out"]
    checks.main()
"""
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))\n"


@pytest.fixture(scope="module")
def carried(chain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what prepare.sh makes, at tiny sizes, beside a module that hides packages."""
    folder = tmp_path_factory.mktemp("device")
    (folder / "hidden").mkdir()
    (folder / "hidden" / "sitecustomize.py").write_text(BLOCK)
    (folder / ".dev" / "data").mkdir(parents=True)
    shutil.copytree(chain / "encoder", folder / ".dev" / "minilm")
    for arm in ("mslm", "word"):
        shutil.copytree(chain / "shards", folder / ".dev" / f"shards-{arm}")
    for name, part in (("train", "train"), ("devel", "dev"), ("test", "test")):
        with gzip.open(folder / ".dev" / "data" / f"{name}.tsv.gz", "wb") as file:
            file.write((chain / f"{part}.tsv").read_bytes())
    return folder


@pytest.fixture(scope="module")
def lines(carried: Path) -> dict[str, list[str]]:
    """The lines that each step writes; all in one process, for most of the time is spent on imports."""
    path = os.pathsep.join([str(carried / "hidden"), str(ROOT), str(ROOT / "benchmarks" / "device")])
    environment = {**os.environ, "DRY": "1", "SCRATCH": str(carried / "scratch"), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *STEPS], cwd=carried, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {step: (carried / f"{step}.out").read_text().splitlines() for step in STEPS}


def test_equality(lines: dict[str, list[str]]) -> None:
    found = [json.loads(line) for line in lines["equality"]]
    assert len(found) == 15
    assert all(line["rel_error"] < 0.03 for line in found)
    assert {line["rel_error"] for line in found if line["kind"] == "fp32 padded"} == {0.0}


def test_waits_product_profile_and_trials(lines: dict[str, list[str]]) -> None:
    (waits,) = map(json.loads, lines["waits"])
    assert (waits["steps"], waits["waits"]) == (10, 0)
    assert [json.loads(line)["tokens_per_step"] for line in lines["product"]] == [4096, 512]
    assert "minilm" in " ".join(lines["profile"])
    trials = [json.loads(line) for line in lines["trials"]]
    assert [trial["arm"] for trial in trials] == ["vanilla", "word", "mslm"]
    assert all(0 <= trial["test"]["f1"] <= 1 for trial in trials)
