"""`python -m pipeline <stage>`: every step that the Makefile runs, and the commands for one's own data."""

import contextlib
import logging
import sys
from collections.abc import Sequence

import click

from pipeline import stages
from pipeline.errors import PipelineError


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run one stage; returns the exit status.

    Errors that this project raises on purpose, and those of the file system, end with their message alone: it says
    what to do. Anything else is a defect and keeps its traceback.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("pipeline").setLevel(logging.INFO)
    stages.load()
    try:
        stages.commands(arguments, prog_name="python -m pipeline", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except (PipelineError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
