"""What a study will take, before it is run."""

from mslm_cli.config import SweepConfig
from mslm_cli.studies.plan import Planner
from mslm_cli.studies.work import Workshop


def report(planner: Planner, workshop: Workshop, config: SweepConfig) -> None:
    """Print the plan with an estimate."""
