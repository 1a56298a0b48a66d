"""Trials of device/few_labels.py on one thread of a CPU, for the arms that the time on a GPU did not reach.

    python benchmarks/few_labels_cpu.py FOLDER MSLM OUT JOB ...

FOLDER comes from device/few_labels_data.py, MSLM is the encoder that device/few_labels.py adapted, and JOB is a name
as ``silver_linnaeus_0.05_1``. What a job needs (a teacher, a tuned source) is made first. OUT keeps the encoders and
teachers, and gets results.jsonl and predictions.jsonl as on the GPU; jobs that it already has are left out. Several
processes may share OUT.
"""

import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "device"))
import few_labels
from few_labels import Job


def before(job: Job) -> list[Job]:
    """The jobs whose output ``job`` needs, without the adapted encoder."""
    arm = few_labels.ARMS[job.arm]
    encoder = arm.encoder if job.share else ""
    made = [Job(encoder, job.target)] if "same" in encoder or encoder == "other" else []
    return [*made, *([job._replace(arm=arm.teacher)] if arm.teacher and job.share else [])]


def run(job: Job, runner: few_labels.Runner, out: Path) -> None:
    for needed in before(job):
        run(needed, runner, out)
    if not few_labels.claim(out / "claims" / job.name):
        while not (out / "done" / job.name).exists():
            time.sleep(1)
        return
    print(job.name, flush=True)
    for made in ("trials", "sources", "made"):
        shutil.rmtree(out / made / job.name, ignore_errors=True)
    started = time.process_time()
    found = runner.run(job)
    mentions = found.pop("mentions", None)
    seconds = round(time.process_time() - started)
    few_labels.write_line(out / "results.jsonl", {**job._asdict(), **found, "device": "cpu", "cpu_seconds": seconds})
    if mentions is not None:
        few_labels.write_line(out / "predictions.jsonl", {**job._asdict(), "mentions": mentions})
    (out / "done" / job.name).touch()


def main() -> None:
    folder, mslm, out = map(Path, sys.argv[1:4])
    for name in ("claims", "done", "encoders", "made", "sources", "teachers", "trials"):
        (out / name).mkdir(parents=True, exist_ok=True)
    encoder = few_labels.encoder_of("mslm", "", out)
    if not encoder.exists():
        encoder.symlink_to(mslm.resolve())
    runner = few_labels.Runner("cpu", folder, out)
    for name in sys.argv[4:]:
        arm, target, share, seed = name.split("_")
        run(Job(arm, target, float(share), int(seed)), runner, out)


if __name__ == "__main__":
    main()
