"""The edition's classifiers on a folder of real EM that they never saw."""

from pipeline import artefacts, config
from pipeline.columns import PARTNER_SEGMENTS
from pipeline.stages import Run, StageError, stage


@stage(settings=("models", "data"))
def transfer(run: Run) -> None:
    """Apply the edition's networks to the synapses of a folder of real EM, and measure floors beside them.

    The folder has em/, segmentation/ and a `synapses.csv` with cell types, partners' segments and `on_spine`. Its
    patches are cut first, at the default geometry.
    """
    import pandas as pd

    from pipeline import compute
    from pipeline.extract import floors, patches
    from pipeline.learn import transfer as on_real
    from pipeline.stages.folders import read_synapses, volumes

    edition, build, data = run.config, run.build, run.data
    real, csv = build.on(data), data / "synapses.csv"
    rows, volume = read_synapses(data, csv)
    written = pd.read_csv(csv)
    missing = {*PARTNER_SEGMENTS, "on_spine", "cell_type", "axon_id"} - set(written)
    if missing or rows[["label", "on_spine"]].isna().any(axis=None):
        what = f"the columns {sorted(missing)}" if missing else "some values of cell_type or on_spine"
        raise StageError(f"{csv} lacks {what}; floors and scores need them all")
    rows = rows.merge(written[["synapse_id", *PARTNER_SEGMENTS]], on="synapse_id", validate="one_to_one")
    models = [model for model in edition.models if not (model.folds or model.attention) and model.train_share == 1]
    inputs = [build.models, *(build.predictions(model.name) for model in models), csv]
    outputs = [real.transfer / "volume.json", real.patches / "manifest.json"]
    name = f"transfer-{data.resolve().name}"
    with run.step(inputs, outputs, "pipeline/stages/transfer.py", name=name) as step:
        if step.is_current:
            return
        with compute.workers(edition.compute) as client:
            patches.extract(rows, volume["em_path"], config.Extract(), real.patches, client)
        found = floors.measure(rows, volume["em_path"], volumes(data)["segmentation"])
        known = ["synapse_id", "pre_neuron_id", "label", "on_spine"]
        artefacts.write_parquet(real.transfer / "floors.parquet", rows[known].merge(found, on="synapse_id"))
        files = {model.name: build.run(model.name) / "model.safetensors" for model in models}
        train = pd.read_parquet(build.synapses).query("split == 'train'")
        for model, table in on_real.predictions(files, real.patches, rows, build.patches, train):
            artefacts.write_parquet(real.transfer / f"{model}.parquet", table)
        em_folder = volume["em_path"].rpartition("/")[2]
        artefacts.write_json(real.transfer / "volume.json", volume | {"em_path": em_folder})
