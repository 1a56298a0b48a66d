import os
from pathlib import Path

import pytest

from mslm_cli import fsio
from mslm_cli.errors import UsageError


def fill(folder: Path, text: str) -> None:
    with fsio.staged_folder(folder) as staged:
        (staged / "file.txt").write_text(text)


def test_a_staged_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "out"
    with fsio.staged_folder(output) as staged:
        (staged / "file.txt").write_text("new")
        assert not output.exists()
    assert (output / "file.txt").read_text() == "new"
    assert [p.name for p in output.parent.iterdir()] == ["out"]


def test_a_staged_folder_is_readable_only_by_its_owner(tmp_path: Path) -> None:
    fill(tmp_path / "out", "text")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_an_error_leaves_the_old_output_and_nothing_else(tmp_path: Path) -> None:
    output = tmp_path / "out"
    fill(output, "old")

    def fail_halfway() -> None:
        with fsio.staged_folder(output) as staged:
            (staged / "file.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert (output / "file.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_replacing_leaves_no_stray_folder(tmp_path: Path) -> None:
    output = tmp_path / "out"
    fill(output, "old")
    fill(output, "new")
    assert (output / "file.txt").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_leftovers_of_a_killed_run_are_not_published(tmp_path: Path) -> None:
    leftover = tmp_path / ".out.partial"
    leftover.mkdir()
    (leftover / "stale.txt").write_text("stale")
    (leftover / "folder").mkdir()
    fill(tmp_path / "out", "new")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["file.txt"]


@pytest.mark.parametrize("new_is_there", [False, True])
def test_a_kill_between_the_two_renames_is_recovered(tmp_path: Path, new_is_there: bool) -> None:
    output, old = tmp_path / "out", tmp_path / ".out.old"
    fill(old, "old")
    if new_is_there:
        fill(output, "new")
    fsio.recover(output)
    assert (output / "file.txt").read_text() == ("new" if new_is_there else "old")
    assert not old.exists()


def test_leftovers_next_to_an_output_are_removed(tmp_path: Path) -> None:
    output = tmp_path / "out"
    fill(output, "there")
    for name in (".out.partial", ".out.gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.txt").write_text("half")
    with fsio.locked(tmp_path / ".out.partial"):  # by a process that is filling it
        fsio.recover(output)
        assert sorted(p.name for p in tmp_path.iterdir()) == [".out.partial", "out"]
    fsio.recover(output)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_second_writer_of_the_same_output_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with fsio.staged_folder(output) as staged:
        (staged / "file.txt").write_text("first")
        with pytest.raises(UsageError, match="another process"), fsio.staged_folder(output):
            pass
        assert staged.exists()
    assert (output / "file.txt").read_text() == "first"


def test_everything_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        events.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_fsync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        events.append(f"rename {self.name} {Path(target).name}")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    fill(tmp_path / "out", "new")
    renamed = events.index("rename .out.partial out")
    assert events.index("sync file.txt") < events.index("sync .out.partial") < renamed
    assert f"sync {tmp_path.name}" in events[renamed:]


def test_write_text_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    fsio.write_text(path, "one\n")
    fsio.write_text(path, "β\n")
    assert path.read_bytes() == "β\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_resources_are_found() -> None:
    assert (fsio.resource("sample") / "train.tsv").is_file()


def test_a_lock_file_is_held_by_one_and_free_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one.lock"
    mine = fsio.hold(path, wait=False)
    assert mine is not None
    assert fsio.hold(path, wait=False) is None
    os.close(mine)
    with fsio.held(path):
        assert fsio.hold(path, wait=False) is None
    again = fsio.hold(path, wait=True)
    assert again is not None
    os.close(again)
