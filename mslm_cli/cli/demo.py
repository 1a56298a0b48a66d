"""``mslm demo``."""

from mslm_cli import console
from mslm_cli.cli._command import Output, Overwrite, subcommand
from mslm_cli.config import DemoConfig

EXAMPLES = """\
mslm demo -o demo
mslm demo -o demo --offline"""


@subcommand("demo", DemoConfig, examples=EXAMPLES)
def demo(output: Output, config: DemoConfig, overwrite: Overwrite = False) -> None:
    """Run the whole chain on a sample corpus.

    Once with plain and once with DS-term masking. It shows the flow; a sample of this size proves nothing
    about quality.
    """
    from mslm_cli.studies import demo as study

    console.result(str(study.run(output, config, overwrite=overwrite)))
