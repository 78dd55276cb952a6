"""The edition's classifiers on a folder of real EM that they never saw."""

from pipeline import artefacts
from pipeline.columns import PARTNER_SEGMENTS
from pipeline.stages import Run, StageError, stage


@stage(settings=("models", "data"))
def transfer(run: Run) -> None:
    """Apply the edition's networks to the synapses of a folder of real EM, and measure floors beside them.

    The folder has em/, segmentation/ and a `synapses.csv` with cell types, partners' segments and `on_spine`.
    """
    import pandas as pd

    from pipeline.extract import floors
    from pipeline.learn import transfer as on_real
    from pipeline.stages.folders import volumes

    edition, build, data = run.config, run.build, run.data
    real, csv = build.on(data), data / "synapses.csv"
    rows, volume = pd.read_parquet(real.synapses), artefacts.read_json(real.cohort / "volume.json")
    written = pd.read_csv(csv)
    missing = {*PARTNER_SEGMENTS, "on_spine", "cell_type", "axon_id"} - set(written)
    if missing or rows[["label", "on_spine"]].isna().any(axis=None):
        what = f"the columns {sorted(missing)}" if missing else "some values of cell_type or on_spine"
        raise StageError(f"{csv} lacks {what}; floors and scores need them all")
    rows = rows.merge(written[["synapse_id", *PARTNER_SEGMENTS]], on="synapse_id", validate="one_to_one")
    models = [model for model in edition.models if not (model.folds or model.reads_mask) and model.train_share == 1]
    files = {model.name: build.run(model.name) / "model.safetensors" for model in models}
    inputs = [*files.values(), real.patches / "manifest.json", csv]
    with run.step(inputs, [real.transfer / "volume.json"], "pipeline/stages/transfer.py", build=real) as step:
        if step.is_current:
            return
        found = floors.measure(rows, volume["em_path"], volumes(data)["segmentation"])
        known = ["synapse_id", "pre_neuron_id", "label", "on_spine"]
        artefacts.write_parquet(real.transfer / "floors.parquet", rows[known].merge(found, on="synapse_id"))
        train = pd.read_parquet(build.synapses).query("split == 'train'")
        for model, table in on_real.predictions(files, real.patches, rows, build.patches, train):
            artefacts.write_parquet(real.transfer / f"{model}.parquet", table)
        artefacts.write_json(real.transfer / "volume.json", volume | {"em_path": volume["em_path"].rpartition("/")[2]})
