"""A study of few and short trials on what the fixture ``chain`` holds."""

from pathlib import Path

HEAD = """
model = "encoder"
text = ["text-of-train.txt"]
probes = false
seeds = [1, 2]

[[data]]
name = "toy"
train = "train.tsv"
dev = "dev.tsv"
test = "test.tsv"

[lexicon.terms]
pipeline = "none"

[shards]
max_length = 64

[adapt]
tokens = 300
tokens_per_step = 128
head_warmup_steps = 2

[finetune]
epochs = 1
learning_rate = 0.01
tokens_per_step = 128

[search]
elm_rate = [0.25, 0.75]
blm_rate = 0.1
weights = "uniform"
shares = [0.5]
"""

ARMS = """
[[arm]]
kind = "word"

[[arm]]
kind = "mslm"
"""


def write(folder: Path, text: str = HEAD + ARMS) -> Path:
    """Write study.toml, and text that no test sentence is in."""
    words = [line.split("\t")[0] for line in (folder / "train.tsv").read_text().splitlines()]
    (folder / "text-of-train.txt").write_text(" ".join(word or "\n\n" for word in words) + "\n")
    path = folder / "study.toml"
    path.write_text(text)
    return path
