"""Notebook scripts: predictions to results."""

from pathlib import Path

import click

from pipeline.stages import ALL, Run, stage


@stage(settings=ALL)
@click.argument("script", type=Path)
def analyse(run: Run, script: Path) -> None:
    """Run a notebook script of analysis/, and keep the executed notebook."""
    from pipeline import scripts
    from pipeline.render import notebook

    build, name = scripts.scope(script, run.config, run.build), script.stem
    inputs, files = scripts.inputs(script, run.config, run.build), scripts.literal_files(script)
    outputs = [build.analysis / f"{name}.json", build.analysis / f"{name}.ipynb"]
    with run.step(inputs, outputs, script, f"analysis-{name}", script, files, build=build) as step:
        if not step.is_current:
            notebook.run(script, build)
