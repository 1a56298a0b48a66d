"""Where work runs: an executor of another kind, defined here alone, serves commands and studies."""

import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import child_process
import pytest
import tiny_study
from typer.testing import Result

from mslm_cli.execution import executor as execution
from mslm_cli.execution import ray_cluster
from mslm_cli.execution.work import ThisProcess
from mslm_cli.fsio import sha256_of

Mslm = Callable[..., Result]


class LastFirst:
    """Does the last of every few items first; hands the results out in order, as it must."""

    n_done = 0

    def map_in_order(self, prepare: Callable[[], Callable[[Any], Any]], items: Iterable[Any]) -> Iterator[Any]:
        work = prepare()
        waiting = list(items)
        results = {number: work(item) for number, item in reversed(list(enumerate(waiting)))}
        for number in range(len(waiting)):
            LastFirst.n_done += 1
            yield results[number]


@pytest.fixture
def last_first(monkeypatch: pytest.MonkeyPatch) -> type[LastFirst]:
    monkeypatch.setattr(execution, "executor", lambda *_: nullcontext(LastFirst()))
    LastFirst.n_done = 0
    return LastFirst


def content(artifact: Path) -> dict[str, str]:
    return {p.name: sha256_of(p) for p in artifact.rglob("*") if p.is_file() and p.name != "manifest.json"}


@pytest.mark.parametrize(
    "command",
    [
        "extract-terms text.txt --pipeline none --min-count 1 --block-chars 200",
        "preprocess text.txt --lexicon lexicon --model encoder --max-length 64 --block-chars 200",
    ],
)
def test_a_command_gives_the_same_artifact(
    workplace: Path, mslm: Mslm, last_first: type[LastFirst], command: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "executor", lambda *_: nullcontext(ThisProcess()))
        assert mslm(*command.split(), "-o", "here").exit_code == 0
    done = mslm(*command.split(), "-o", "elsewhere")
    assert done.exit_code == 0, done.stderr
    assert last_first.n_done > 1
    assert content(Path("elsewhere")) == content(Path("here"))


def test_shards_do_not_depend_on_the_number_of_workers(workplace: Path, mslm: Mslm) -> None:
    command = ["preprocess", "text.txt", "--lexicon", "lexicon", "--model", "encoder", "--max-length", "64"]
    command += ["--block-chars", "200"]
    assert mslm(*command, "-o", "one").exit_code == 0
    assert mslm(*command, "--workers", "2", "-o", "two").exit_code == 0
    assert content(Path("one")) == content(Path("two"))
    assert "up to date" in mslm(*command, "--workers", "2", "-o", "one").stderr


@pytest.mark.parametrize(
    "command",
    [
        "match text.txt --lexicon lexicon",
        "predict ner text.txt",
        "predict ner text.txt --to conll",
        "predict ner text.txt --to brat",
    ],
)
def test_an_output_file_does_not_depend_on_where_it_is_made(
    workplace: Path, mslm: Mslm, last_first: type[LastFirst], command: str
) -> None:
    options = [*command.split(), "--block-chars", "200"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "executor", lambda *_: nullcontext(ThisProcess()))
        here = mslm(*options, "--workers", "1", "-o", "here")
        assert here.exit_code == 0, here.stderr
    elsewhere = mslm(*options, "--workers", "2", "-o", "elsewhere")
    assert elsewhere.exit_code == 0, elsewhere.stderr
    assert last_first.n_done > 1
    assert elsewhere.stderr == here.stderr
    one, other = Path("here"), Path("elsewhere")
    assert content(other) == content(one) if one.is_dir() else other.read_bytes() == one.read_bytes()
    streamed = mslm(*options, "--workers", "1") if one.is_file() else None
    if streamed is not None:
        assert streamed.stdout.encode() == one.read_bytes()
        assert streamed.stderr.splitlines()[-1] == here.stderr.splitlines()[-1], "the same totals"


def test_workers_are_as_many_as_fit_in_memory(workplace: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    def executor(n_workers: int, _: str | None) -> Any:
        started.append(n_workers)
        return nullcontext(ThisProcess())

    monkeypatch.setattr(execution, "executor", executor)
    monkeypatch.setattr("mslm_cli.config.n_cores", lambda: 64)
    match = ["match", "text.txt", "--lexicon", "lexicon", "--workers"]
    for options in (["auto"], ["auto", "--max-memory", "2GB"], ["9", "--max-memory", "2000 mb"]):
        assert mslm(*match, *options).exit_code == 0
    assert started == [64, 9, 9]
    refused = mslm(*match, "10", "--max-memory", "2GB")
    assert refused.exit_code == 2
    assert "--max-memory 2GB: expected at least 2.2GB for the command and 10 workers" in refused.stderr
    assert "use fewer --workers" in refused.stderr
    assert "500MB or 16GB" in mslm(*match, "1", "--max-memory", "lots").stderr


def test_a_probe_reads_in_workers(workplace: Path, mslm: Mslm) -> None:
    command = [
        "probe",
        "adapted",
        "text.txt",
        "--lexicon",
        "lexicon",
        "--json",
        "--replicates",
        "10",
        "--threads",
        "1",
        "--block-chars",
        "500",
    ]
    one, two = (mslm(*command, "--workers", n) for n in (1, 2))
    assert one.exit_code == 0, one.stderr
    assert two.stdout == one.stdout


@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed")
def test_a_ray_cluster_gives_the_same_shards(workplace: Path, mslm: Mslm) -> None:
    command = [
        "preprocess",
        "text.txt",
        "--lexicon",
        "lexicon",
        "--model",
        "encoder",
        "--max-length",
        "64",
        "--block-chars",
        "200",
    ]
    assert mslm(*command, "-o", "here").exit_code == 0
    assert child_process.run(*command, "--ray", "auto", "-o", "there", folder=workplace) == 0, Path(
        "stderr"
    ).read_text()
    assert Path("stdout").read_text() == "there\n"
    assert content(Path("there")) == content(Path("here"))


def test_a_cluster_that_is_not_there_is_named(workplace: Path) -> None:
    command = ["match", "text.txt", "--lexicon", "lexicon", "--ray", "127.0.0.1:1"]
    assert child_process.run(*command, folder=workplace) == 5
    assert "error: --ray 127.0.0.1:1: " in Path("stderr").read_text()


def test_a_study_gives_the_same_verdict(workplace: Path, mslm: Mslm, last_first: type[LastFirst]) -> None:
    tiny_study.write(workplace)
    done = mslm("sweep", "study.toml", "-o", "study", "--threads", "1")
    assert done.exit_code == 0, done.stderr
    assert last_first.n_done > 1
    verdict = json.loads(Path("study/verdict.json").read_text())
    assert [arm["name"] for arm in verdict["arms"]] == ["vanilla", "word", "mslm"]
    assert "mslm" in Path("study/index.html").read_text()


def test_a_task_of_a_cluster_that_was_started_elsewhere_finds_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here.txt").write_text("found")
    monkeypatch.chdir("/")  # and back at the end

    def prepare() -> Callable[[str], str]:
        return lambda name: Path(name).read_text()

    assert ray_cluster._work("a map", prepare, "here.txt", tmp_path) == "found"
    assert ray_cluster._work("another", prepare, str(tmp_path / "here.txt"), Path("missing")) == "found"
