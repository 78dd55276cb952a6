"""The page of the test synapses."""

from pipeline.scripts import files_of
from pipeline.stages import Run, stage


@stage(settings=())
def atlas(run: Run) -> None:
    """Write the atlas, a page on which every test synapse can be looked at."""
    import pandas as pd

    from pipeline import artefacts
    from pipeline.columns import CENTER_NM
    from pipeline.render import atlas as page
    from pipeline.shards import Rows

    build = run.build
    tables = {name: build.analysis / f"performance.{name}.parquet" for name in ("runs", "thresholds", "aucs")}
    values, pictures = build.analysis / "performance.json", build.analysis / "evidence.pictures.parquet"
    inputs = [build.synapses, build.cohort / "volume.json", build.patches / "manifest.json", values, *tables.values()]
    inputs += [*build.files_of("predictions"), *([pictures] if pictures.is_file() else [])]
    target = build.site / "atlas.html"
    outputs = [target, target.with_suffix("")]
    with run.step(inputs, outputs, "pipeline/render/atlas.py", files=files_of("atlas")) as step:
        if step.is_current:
            return
        found = {name: pd.read_parquet(path) for name, path in tables.items()}
        quoted = artefacts.read_json(values)
        best, control = (quoted[f"{role}_model"]["value"] for role in ("best", "control"))
        runs = found["runs"].query("not folds").sort_values(["trained", "validation_auc"], ascending=False)
        index = pd.read_parquet(build.patches / "index.parquet").set_index("synapse_id")["row"]
        columns = ["synapse_id", "pre_neuron_id", "label", *CENTER_NM]
        tested = pd.read_parquet(build.synapses).query("split == 'test' and synapse_id in @index.index")[columns]
        shown = page.sample(tested, run.config.seed)
        for model in runs["model"]:
            scores = pd.read_parquet(build.predictions(model)).set_index("synapse_id")["p_excitatory"]
            shown[model] = scores.loc[shown["synapse_id"]].to_numpy(float)
        cubes = Rows(build.patches / "images.zarr" / "cube")
        page.write(
            shown,
            len(tested),
            page.Scores(runs, found["thresholds"], found["aucs"], best, control),
            lambda synapse_id: cubes[[index[synapse_id]]][0],
            pd.read_parquet(pictures) if pictures.is_file() else None,
            tuple(artefacts.read_json(build.patches / "manifest.json")["voxel_nm"]),
            artefacts.read_json(build.cohort / "volume.json"),
            target,
        )
