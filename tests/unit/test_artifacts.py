import json
import shutil
from pathlib import Path

import pytest

from mslm_cli import artifacts
from mslm_cli.artifacts import ArtifactBuild, Input
from mslm_cli.config import AdaptConfig, EvalConfig, PreprocessConfig
from mslm_cli.errors import ArtifactError, UsageError
from mslm_cli.options import Config

TEXT = Input(role="text", path="a.txt", fingerprint="abc")


def make(
    output: Path, config: Config | None = None, inputs: list[Input] | None = None, content: str = "x"
) -> ArtifactBuild:
    build = ArtifactBuild("shards", output, config or PreprocessConfig(), [TEXT] if inputs is None else inputs)
    with build.publish() as staged:
        (staged.path / "data.arrow").write_text(content)
        (staged.path / "sub").mkdir()
        (staged.path / "sub" / "more.txt").write_text("more")
        staged.seeds["masks"] = 7
        staged.run["n_tokens"] = 3
    return build


def test_a_published_artifact_loads_and_says_what_it_is(tmp_path: Path) -> None:
    build = make(tmp_path / "shards")
    manifest = artifacts.load(tmp_path / "shards", "shards").manifest
    assert (manifest.kind, manifest.fingerprint) == ("shards", build.fingerprint)
    assert manifest.config["elm_rate"] == 0.5
    assert [f.path for f in manifest.files] == ["data.arrow", "sub/more.txt"]
    assert manifest.seeds == {"masks": 7}
    assert manifest.run["n_tokens"] == 3
    assert manifest.inputs == [TEXT]


def test_the_fingerprint_is_that_of_the_work(tmp_path: Path) -> None:
    def fingerprint(config: Config, inputs: list[Input], where: str = "a") -> str:
        return ArtifactBuild("shards", tmp_path / where, config, inputs).fingerprint

    base = fingerprint(PreprocessConfig(), [TEXT])
    assert base == fingerprint(PreprocessConfig(), [TEXT], where="b")
    assert base == fingerprint(PreprocessConfig(offline=True), [TEXT])
    moved = Input(role="text", path="elsewhere.txt", fingerprint="abc")
    assert base == fingerprint(PreprocessConfig(), [moved])
    assert base != fingerprint(PreprocessConfig(seed=1), [TEXT])
    assert base != fingerprint(PreprocessConfig(), [Input(role="text", path="a.txt", fingerprint="abd")])
    every_minute, every_hour = AdaptConfig(checkpoint_every="1m"), AdaptConfig(checkpoint_every="1h")
    assert fingerprint(every_minute, []) == fingerprint(every_hour, [])


def test_the_same_work_is_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build = make(tmp_path / "shards")
    assert build.is_done(overwrite=False)
    assert "up to date" in capsys.readouterr().err
    assert not build.is_done(overwrite=True)
    assert not ArtifactBuild("shards", tmp_path / "other", PreprocessConfig(), [TEXT]).is_done(overwrite=False)


def test_a_different_output_is_refused_with_the_difference(tmp_path: Path) -> None:
    make(tmp_path / "shards")
    with pytest.raises(UsageError, match=r"seed was 0, is 3.*--overwrite"):
        ArtifactBuild("shards", tmp_path / "shards", PreprocessConfig(seed=3), [TEXT]).is_done(overwrite=False)
    other = Input(role="text", path="b.txt", fingerprint="def")
    with pytest.raises(UsageError, match=r"other inputs .text."):
        ArtifactBuild("shards", tmp_path / "shards", PreprocessConfig(), [other]).is_done(overwrite=False)


def test_a_folder_that_is_not_an_artifact_is_never_overwritten(tmp_path: Path) -> None:
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="not an mslm artifact"):
            ArtifactBuild("shards", precious, PreprocessConfig(), [TEXT]).is_done(overwrite=overwrite)
    assert (precious / "chapter1.tex").exists()


def test_a_missing_artifact_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no such lexicon artifact.*mslm extract-terms"):
        artifacts.load(tmp_path / "nowhere", "lexicon")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"found no manifest\.json"):
        artifacts.load(tmp_path / "empty", "lexicon")


def test_the_wrong_kind_is_named(tmp_path: Path) -> None:
    make(tmp_path / "shards")
    with pytest.raises(ArtifactError, match="expected a ner artifact, found a shards artifact"):
        artifacts.load(tmp_path / "shards", "ner")


def test_damage_is_found(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    make(whole)

    def broken(name: str) -> Path:
        return Path(shutil.copytree(whole, tmp_path / name))

    (broken("short") / "data.arrow").write_text("")
    with pytest.raises(ArtifactError, match=r"data\.arrow: damaged: expected 1 bytes, found 0"):
        artifacts.load(tmp_path / "short", "shards")

    (broken("gone") / "sub" / "more.txt").unlink()
    with pytest.raises(ArtifactError, match=r"more\.txt: missing"):
        artifacts.load(tmp_path / "gone", "shards")

    (broken("flipped") / "data.arrow").write_text("y")
    with pytest.raises(ArtifactError, match="SHA-256"):
        artifacts.load(tmp_path / "flipped", "shards")

    (broken("garbled") / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged manifest"):
        artifacts.load(tmp_path / "garbled", "shards")


@pytest.mark.parametrize(("key", "value", "message"), [("schema_version", 99, "found 99"), ("files", 3, "invalid")])
def test_a_manifest_with_another_schema_is_refused(tmp_path: Path, key: str, value: object, message: str) -> None:
    make(tmp_path / "shards")
    path = tmp_path / "shards" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value, "digest": None}))
    with pytest.raises(ArtifactError, match=message):
        artifacts.load(tmp_path / "shards", "shards")


def test_a_manifest_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    make(tmp_path / "shards")
    path = tmp_path / "shards" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["digest"] = None
    manifest["files"][0]["path"] = "../secret"
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="outside the artifact"):
        artifacts.load(tmp_path / "shards", "shards")


def test_manifests_hold_no_absolute_path(tmp_path: Path) -> None:
    file = tmp_path / "private" / "a.txt"
    file.parent.mkdir()
    file.write_text("text")
    make(tmp_path / "shards", inputs=[artifacts.file_input("text", file)])
    assert str(tmp_path) not in (tmp_path / "shards" / "manifest.json").read_text()


def test_file_inputs_are_identified_by_content(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text("same")
    assert (
        artifacts.file_input("text", tmp_path / "one").fingerprint
        == artifacts.file_input("text", tmp_path / "two").fingerprint
    )
    (tmp_path / "two" / "a.txt").write_text("other")
    assert (
        artifacts.file_input("text", tmp_path / "one").fingerprint
        != artifacts.file_input("text", tmp_path / "two").fingerprint
    )


def test_sketches_are_passed_on(tmp_path: Path) -> None:
    def source(name: str, content: bytes) -> artifacts.Artifact:
        build = ArtifactBuild("eval", tmp_path / name, EvalConfig(), [])
        with build.publish() as staged:
            (staged.path / "seen").mkdir()
            (staged.path / "seen" / "text.u64").write_bytes(content)
        return artifacts.load(tmp_path / name, "eval")

    one, same, other = source("one", b"1" * 8), source("same", b"1" * 8), source("other", b"2" * 8)
    target = tmp_path / "target"
    target.mkdir()
    artifacts.pass_on_sketches([one, same, None, other], target)
    assert sorted(p.read_bytes() for p in (target / "seen").iterdir()) == [b"1" * 8, b"2" * 8]


def test_an_option_that_names_an_input_says_nothing_of_where_it_is(tmp_path: Path) -> None:
    here, there = (
        ArtifactBuild("encoder", tmp_path / "a", AdaptConfig(model=m), [TEXT]) for m in ("/home/ann/bert", "bert")
    )
    assert here.fingerprint == there.fingerprint
    make(tmp_path / "shards", PreprocessConfig(model="/home/ann/models/bert"))
    manifest = (tmp_path / "shards" / "manifest.json").read_text()
    assert json.loads(manifest)["config"]["model"] == "bert"
    assert "ann" not in manifest
