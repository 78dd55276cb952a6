"""`python -m pipeline <stage>`: every step that the Makefile runs, and the commands for one's own data."""

import argparse
import contextlib
import logging
import sys
from pathlib import Path

from pipeline import artefacts


def main(arguments=None):
    """Parse the command line and run one stage; returns the exit status.

    Errors that this project raises on purpose, and those of the file system, end with their message alone: it says
    what to do. Anything else is a defect and keeps its traceback.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("pipeline").setLevel(logging.INFO)
    from pipeline import partner_stages, stages  # late: `--help` should not wait for the stages' imports

    name = options.stage.replace("-", "_")
    try:
        getattr(stages if hasattr(stages, name) else partner_stages, name)(options)
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.startswith("pipeline."):
            print(f"error: {error}", file=sys.stderr)
            return 1
        raise
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True, metavar="stage")

    edition = argparse.ArgumentParser(add_help=False)
    edition.add_argument("--config", default="demo", help="name in pipeline/configs, or a YAML file (default: demo)")
    edition.add_argument("--data", type=Path, help="folder of volumes, for an edition whose source is a folder")
    edition.add_argument("--build", type=Path, default=Path("build"), help="root of what is made (default: build)")

    def stage(name, text, needs_edition=True):
        return stages.add_parser(name, help=text, description=text, parents=[edition] if needs_edition else [])

    stage("settings", "write build/<config>/settings/*.json where a section changed; Make compares with these")
    stage("simulate", "simulated neuropil: precomputed volumes and annotation tables")
    stage("cohort", "query the annotation service (or read synapses.csv): labels, filters, splits, audit")
    stage("extract", "cut patches and cubes around every synapse of the cohort")
    train = stage("train", "train the models (or fit the untrained controls) and predict")
    train.add_argument("--model", help="one model alone; by default all of the edition that are not up to date")
    stage("units", "cut cubes with the units mistake of the prior work, and train on them")
    analyse = stage("analyse", "run a notebook script of analysis/")
    analyse.add_argument("script", type=Path)
    draw = stage("draw", "run a script of figures/ or tables/")
    draw.add_argument("script", type=Path)
    for parser_ in (analyse, draw):
        parser_.add_argument("--inputs", type=Path, nargs="*", default=[], help="files it reads, for provenance")
    stage("page", "stage the manuscript, render it and its companion pages, merge provenance")
    sandbox = stage("sandbox", "serve the simulated annotation tables to a caveclient on loopback")
    sandbox.add_argument("--port", type=int, default=0)
    reference = stage("reference", "texture statistics of the extracted patches, as the reference for realism")
    reference.add_argument("--out", type=Path, required=True)

    stage("partner-tissue", "simulate the tissue on which partner assignment is tested")
    stage("partner-samples", "cut a sample around every cleft, for partner assignment")
    networks = stage("partner-networks", "train the networks of partner assignment and cleft detection")
    networks.add_argument("--network", help="one network alone; by default all of the edition that are not up to date")
    stage("partner-tests", "assign partners to the clefts of the test tissue, given and detected, by every method")
    stage("attention", "AVAN's presynaptic masks of the cohort's synapses, for classifiers that read them")
    stage("queue", "pages for proofreading: detected clefts on whose partners two methods disagree")
    partner_transfer = stage("partner-transfer", "assign partners in a folder of real EM, as trained and fine-tuned")
    partner_transfer.add_argument("--volumes", type=Path, required=True, help="em/, segmentation/, synapses.csv")
    partner_transfer.add_argument("--split-z", type=int, required=True, help="first section (z_vx) of the later half")

    transfer = stage("transfer", "apply the edition's networks to a folder of real EM that they never saw")
    transfer.add_argument("--volumes", type=Path, required=True, help="folder: em/, segmentation/, synapses.csv")
    publish = stage("publish", "copy a trained model into a folder of its own, with a model card")
    publish.add_argument("--model", required=True)
    publish.add_argument("--out", type=Path, required=True)

    publish_partners = stage("publish-partners", "copy the tuned AVAN into a folder of its own, with a model card")
    publish_partners.add_argument("--out", type=Path, required=True)

    predict = stage("predict", "apply a trained model to a folder of precomputed volumes", needs_edition=False)
    predict.add_argument(
        "--run",
        type=Path,
        default=artefacts.REPOSITORY / "pretrained" / "unet3d",
        help="folder of the model, such as build/<config>/runs/<model> (default: pretrained/unet3d)",
    )
    predict.add_argument("--volumes", type=Path, required=True, help="folder that holds em/")
    predict.add_argument("--synapses", type=Path, required=True, help="CSV: synapse_id, x_vx, y_vx, z_vx, ...")
    predict.add_argument("--out", type=Path, required=True, help="Parquet file to write")

    partners = stage("partners", "which two segments does each cleft join?", needs_edition=False)
    partners.add_argument("--volumes", type=Path, required=True, help="folder: em/, segmentation/, perhaps clefts/")
    partners.add_argument("--synapses", type=Path, help="CSV: synapse_id, x_vx, y_vx, z_vx (default: all of clefts/)")
    partners.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    partners.add_argument(
        "--run",
        type=Path,
        default=artefacts.REPOSITORY / "pretrained" / "avan",
        help="folder of the network, such as build/<config>/partners/runs/avan (default: pretrained/avan)",
    )

    connectivity = stage("connectivity", "call neurons from their connections, without images", needs_edition=False)
    connectivity.add_argument("--connectome", type=Path, required=True, help="folder: neurons, connections (.parquet)")
    connectivity.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    connectivity.add_argument("--seed", type=int, default=0, help="of the folds (default: 0)")
    return parser


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
