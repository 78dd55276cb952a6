"""Pages for proofreading."""

from typing import Any

from pipeline.scripts import files_of
from pipeline.stages import Run, stage

#: XYZ, nm: what is shown around a cleft, some three boutons wide.
SHOWN_NM = (1600, 1600, 1000)


@stage(settings=())
def queue(run: Run) -> None:
    """Write pages on which a person decides where AVAN and the proximity pruner disagree."""
    import pandas as pd

    from pipeline.extract import surroundings
    from pipeline.extract.volume import Volume, open_labels
    from pipeline.partners import disagreement
    from pipeline.render import queue as pages
    from pipeline.stages.folders import volumes

    build = run.build
    paths, rows = volumes(build.partners / "source"), build.partners / "volume.parquet"
    with run.step([rows], [build.queue], "pipeline/render/queue.py", files=files_of("queue")) as step:
        if step.is_current:
            return
        em = Volume(paths["em"], (0.0, 0.0, 0.0))
        labels = [open_labels(path, em.frame.resolution_nm) for path in (paths["segmentation"], build.detected_clefts)]

        def look(item: Any) -> tuple[tuple[Any, Any, Any], Any]:
            at_nm = (item.x_nm, item.y_nm, item.z_nm)
            (grey, segments, clefts), center = surroundings.around(em, labels, at_nm, SHOWN_NM)
            return (grey, segments, clefts == item.cleft_id), center

        items = disagreement.blinded(disagreement.queue(pd.read_parquet(rows)), run.config.seed)
        first, *_ = pages.write(items, look, em.frame.resolution_nm, build.queue)
        print(f"{len(items)} clefts to decide on: open {first}")
