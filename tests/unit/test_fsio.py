import os
from concurrent.futures import ThreadPoolExecutor
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


def write(path: Path, text: str) -> None:
    with fsio.staged_file(path) as file:
        file.write(text)


def test_a_second_writer_of_a_file_is_refused_and_the_first_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    with fsio.staged_file(output) as file:
        file.write("first\n")
        with pytest.raises(UsageError, match=r"out\.txt is being written by another process"):
            write(output, "second\n")
    assert output.read_text() == "first\n"
    write(output, "third\n")
    assert output.read_text() == "third\n"
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]


def test_a_file_that_was_opened_before_it_was_published_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writer publishes between the opening of the file and its lock."""
    output, hold = tmp_path / "out.txt", fsio.hold
    others = iter(["other\n"])

    def held(path: Path, *, wait: bool, mode: int) -> int | None:
        descriptor = hold(path, wait=wait, mode=mode)
        if other := next(others, None):
            path.write_text(other)
            path.replace(output)
            published.append(output.read_text())
        return descriptor

    published: list[str] = []
    monkeypatch.setattr(fsio, "hold", held)
    with fsio.staged_file(output) as file:
        file.write("own\n")
        file.flush()
        assert output.read_text() == "other\n"
    assert published == ["other\n"]
    assert output.read_text() == "own\n"


def test_what_a_killed_writer_left_is_no_part_of_the_next_file(tmp_path: Path) -> None:
    (tmp_path / ".out.txt.partial").write_text("a longer text that was left\n")
    write(tmp_path / "out.txt", "new\n")
    assert (tmp_path / "out.txt").read_text() == "new\n"


def test_texts_written_at_once_are_whole(tmp_path: Path) -> None:
    texts = [str(n) * 100_000 for n in range(8)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda text: fsio.write_text(tmp_path / "page.html", text), texts))
    assert (tmp_path / "page.html").read_text() in texts
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_an_output_that_is_a_link_is_written_where_it_points(tmp_path: Path) -> None:
    large = tmp_path / "large-disk"
    large.mkdir()
    fill(large / "run", "old")
    (tmp_path / "out").symlink_to(large / "run")
    (tmp_path / "out.txt").symlink_to(large / "run.txt")
    for text in ("new", "newer"):
        fill(tmp_path / "out", text)
        write(tmp_path / "out.txt", text)
        assert (large / "run" / "file.txt").read_text() == text
        assert (large / "run.txt").read_text() == text
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "out.txt").is_symlink()
    assert sorted(p.name for p in [*tmp_path.iterdir(), *large.iterdir()]) == [
        "large-disk",
        "out",
        "out.txt",
        "run",
        "run.txt",
    ]


@pytest.mark.parametrize("suffix", ["old", "gone"])
def test_a_link_that_was_left_while_replacing_does_not_block_the_next_run(tmp_path: Path, suffix: str) -> None:
    fill(tmp_path / "elsewhere", "theirs")
    fill(tmp_path / "out", "old")
    (tmp_path / f".out.{suffix}").symlink_to(tmp_path / "elsewhere")
    fill(tmp_path / "out", "new")
    assert (tmp_path / "out" / "file.txt").read_text() == "new"
    assert (tmp_path / "elsewhere" / "file.txt").read_text() == "theirs"
    assert not (tmp_path / f".out.{suffix}").is_symlink()
