"""Companion pages of the paper."""

from pathlib import Path

import click

from pipeline.stages import Run, stage


@stage(settings=())
@click.argument("name")
def companion(run: Run, name: str) -> None:
    """Render an executed notebook of analysis/ as a companion page of the paper."""
    from pipeline.render import companion as pages
    from pipeline.scripts import files_of, manuscript

    notebook, page = run.build.analysis / f"{name}.ipynb", run.build.site / f"{name}.html"
    script = Path("analysis") / f"{name}.py"
    with run.step([notebook], [page], script, f"companion-{name}", files=files_of("companion")) as step:
        if not step.is_current:
            links = [folder / "companions.md" for folder in manuscript(run.config)]
            pages.render(notebook, page, links[0].read_text(encoding="utf-8"))
