"""The report."""

from pipeline import artefacts
from pipeline.scripts import files_of
from pipeline.stages import ALL, Run, stage


@stage(settings=ALL)
def page(run: Run) -> None:
    """Stage the manuscript with what was made, render it, and merge the provenance of all steps."""
    from pipeline.render import formats
    from pipeline.render import page as paper

    build = run.build
    inputs = [build.figures, build.tables, *sorted(build.analysis.glob("*.json"))]
    inputs = [path for path in inputs if path.name != "values.json"]
    outputs = [build.site / name for name in ("index.html", *formats.FORMATS, "figures")]
    with run.step(inputs, outputs, "pipeline/render/page.py", files=files_of("page")) as step:
        if not step.is_current:
            paper.stage(build, run.config)
            paper.render(build)
            formats.render(build)
    artefacts.merge_provenance(build)
