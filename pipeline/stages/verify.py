"""Stored images compared with their digests, and damaged ones cut again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from pipeline.stages import Run, StageError, stage

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.stores import Store


@stage()
@click.option("--repair", is_flag=True, help="Cut the blocks that hold damaged images, or listed faults, again.")
def verify(run: Run, repair: bool) -> None:
    """Compare every stored image of the edition with its digest, and list what is damaged.

    Stores are the patches, those of the units mistake, the samples of clefts, and the patches of `--data` beside the
    edition, as far as they are made. It finds lost and changed bytes, and images in the place of others. `--repair`
    ends with the bytes of a store that was never damaged; one of which a table is damaged is cut whole.
    """
    from pipeline.stages.processes import succeeds

    stores = [(name, store) for name, store in _stores(run) if store.folder.is_dir()]
    if not stores:
        raise StageError(f"{run.build.root} holds no images yet: there is nothing to verify")
    found = [_report(store) for _, store in stores]
    if not repair:
        if any(map(len, found)):
            raise StageError("stored images are damaged, see above: `--repair` cuts the blocks that hold them again")
        return
    redone = []
    for (name, store), damage in zip(stores, found, strict=True):
        if len(damage) or store.n_left_out:
            store.reopen(set(damage["row"]))
            redone.append((name, store))
    for name in dict.fromkeys(name for name, _ in redone):
        if not succeeds([name], slot=0):
            raise StageError(f"`{name}` failed, see above: what is right is kept, and `make` goes on with the rest")
    if any([len(_report(store)) for _, store in redone]):
        raise StageError("images are damaged again right after they were cut: test the disk and the memory")


def _stores(run: Run) -> Iterator[tuple[str, "Store"]]:
    """Each store that there may be, with the name of the stage that makes it."""
    from pipeline.extract import clefts, patches

    build, data = run.build, run.config.data
    yield "extract", patches.store(build.patches)
    yield "units", patches.store(build.units / "patches")
    for name in ("train", "test"):
        yield "partner-samples", clefts.store(build.partners / "samples" / name)
    if data and not run.config.reads_folder:
        yield "real-patches", patches.store(build.on(data).patches)


def _report(store: "Store") -> "pd.DataFrame":
    """What is damaged in a store, after printing a line for each file and problem."""
    damage = store.damage()
    for (file, problem), rows in damage.groupby(["file", "problem"], sort=False):
        of = "" if (rows["row"] < 0).any() else f" (synapses {', '.join(map(str, rows['synapse_id']))})"
        print(f"{file} {problem}{of}")
    print(f"{store.folder}: {f'{len(damage)} damaged' if len(damage) else 'as it was written'}")
    return damage
