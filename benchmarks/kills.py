"""Kills of commands over a corpus, or of their workers, at random moments: the result must be the undisturbed one.

    python benchmarks/kills.py CORPUS LEXICON MODEL FOLDER LINES.jsonl [--kills 20] [--ray [ADDRESS]] [--only COMMAND]

For each of extract-terms, preprocess and match, with two workers or on a Ray cluster of two cores, FOLDER gets an
undisturbed result of one process. Then the command (``parent``) or one of its processes (``worker``) is killed, again
and again: after a kill of the parent the same command is run again. Workers of all commands on a cluster may be killed,
so such runs go one after the other. A line says how many runs it took and how often the bytes were the same.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

IGNORED = {"manifest.json"}


def content(path: Path) -> str:
    """A hash of a file, or of all files in a folder but the manifest."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and p.name not in IGNORED)
    found = hashlib.sha256()
    for file in files:
        found.update(file.relative_to(path.parent).as_posix().removeprefix(path.name).encode())
        found.update(file.read_bytes())
    return found.hexdigest()


def descendants(process: int) -> list[int]:
    """The processes below a process."""
    try:
        tasks = Path(f"/proc/{process}/task").iterdir()
        children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return []
    return children + [below for child in children for below in descendants(child)]


def command_line(process: int) -> bytes:
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def workers_of(process: int) -> list[int]:
    """The worker processes of a command."""
    lines = {child: command_line(child) for child in descendants(process)}
    return [child for child, line in lines.items() if b"multiprocessing" in line and b"resource_tracker" not in line]


def workers_of_ray() -> list[int]:
    """The processes of this machine that work on tasks of Ray, but not its agents: a node ends without them."""
    everywhere = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [process for process in everywhere if b"ray::_work" in command_line(process)]


def killed(command: list[str], victim: str, seconds: float, rng: random.Random) -> tuple[bool, bool]:
    """Run the command, with one kill; whether there was something to kill, and whether the command ended by itself."""
    has_hit = False
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0, seconds))
    if process.poll() is None:
        workers = workers_of_ray() if "--ray" in command else workers_of(process.pid)
        if victim == "parent":
            process.kill()
            has_hit = True
        elif workers:
            os.kill(rng.choice(workers), signal.SIGKILL)
            has_hit = True
    _, said = process.communicate()
    if process.returncode > 0:
        sys.exit(said.decode())
    return has_hit, process.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("corpus", "lexicon", "model", "folder", "lines"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--ray", nargs="?", const="start", help="address of a cluster; without one, a cluster is started"
    )
    parser.add_argument("--killed", nargs="+", choices=("parent", "worker"), default=("parent", "worker"))
    parser.add_argument("--only")
    parser.add_argument("--block-chars", default="100000")
    given = parser.parse_args()
    rng = random.Random(0)
    given.folder.mkdir(parents=True, exist_ok=True)
    where = ["--workers", "2"]
    if given.ray:
        where = ["--ray", "auto" if given.ray == "start" else given.ray]
    corpus, lexicon, blocks = str(given.corpus), str(given.lexicon), ["--block-chars", given.block_chars]
    commands = {
        "extract-terms": ["extract-terms", corpus, "--pipeline", "none", *blocks],
        "preprocess": ["preprocess", corpus, "--lexicon", lexicon, "--model", str(given.model), "--budget", "0.2"],
        "match": ["match", corpus, "--lexicon", lexicon, *blocks],
    }
    if given.ray == "start":
        start_cluster = ["ray", "start", "--head", "--num-cpus", "2", "--include-dashboard", "false"]
        subprocess.run(start_cluster, check=True, stdout=subprocess.DEVNULL)
    commands["preprocess"] += ["--strategy", "pmi", *blocks]
    for name, options in commands.items():
        if given.only not in (None, name):
            continue
        output = given.folder / f"{name}-undisturbed"
        start = [sys.executable, "-m", "mslm_cli", *options, *where, "-q", "-o"]
        for _ in range(2):  # the first run starts workers that stay
            shutil.rmtree(output.with_name("timed"), ignore_errors=True)
            output.with_name("timed").unlink(missing_ok=True)
            started = time.perf_counter()
            subprocess.run([*start, str(output.with_name("timed"))], check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - started
        alone = [sys.executable, "-m", "mslm_cli", *options, "-q", "-o", str(output)]
        subprocess.run(alone, check=True, stdout=subprocess.DEVNULL)
        expected = content(output)
        for victim in given.killed:
            n_runs = n_same = n_kills = n_checked = 0
            while n_kills < given.kills:
                for path in (output.with_name("out"), output.with_name("out.work")):
                    shutil.rmtree(path, ignore_errors=True)
                    path.unlink(missing_ok=True)
                n_runs += 1
                has_hit, has_ended = killed([*start, str(output.with_name("out"))], victim, seconds, rng)
                # a kill can come when all is done
                is_done = output.with_name("out").exists() and not output.with_name("out.work").exists()
                if not has_ended and not is_done:
                    n_runs += 1
                    subprocess.run([*start, str(output.with_name("out"))], check=True, stdout=subprocess.DEVNULL)
                n_kills += has_hit
                n_checked += 1
                n_same += content(output.with_name("out")) == expected
            record = {"command": name, "where": " ".join(where), "killed": victim, "kills": n_kills}
            record |= {"runs": n_runs, "results": n_checked, "same_bytes": n_same}
            with given.lines.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(record, flush=True)
    if given.ray == "start":
        subprocess.run(["ray", "stop", "--force"], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
