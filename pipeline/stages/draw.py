"""Scripts of figures and tables: results to pictures and Markdown."""

import runpy
import sys
from pathlib import Path

import click

from pipeline.stages import ALL, Run, stage


@stage(settings=ALL)
@click.argument("script", type=Path)
def draw(run: Run, script: Path) -> None:
    """Run a script of figures/ or tables/, as `python <script>` does, and record its provenance."""
    from pipeline import scripts

    build, folder = scripts.scope(script, run.config, run.build), script.parent.name
    inputs, files = scripts.inputs(script, run.config, run.build), scripts.literal_files(script)
    made = scripts.made_by(script, build)
    outputs = [made, made.with_suffix(".svg" if folder == "figures" else ".csv")]
    with run.step(inputs, outputs, script, f"{folder}-{script.stem}", script, files, build=build) as step:
        if not step.is_current:
            sys.path.insert(0, str(script.parent.resolve()))  # where scripts find their style, as run by themselves
            runpy.run_path(str(script), run_name="__main__")
