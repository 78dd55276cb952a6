"""What a script of `analysis/`, `figures/` or `tables/` needs: its inputs, its outputs, and one way to write numbers.

    study = glue.study("figures/performance.py")

opens the edition that the environment names (SYNAPSE_EI_CONFIG, SYNAPSE_EI_DATA, SYNAPSE_EI_BUILD; by default the
demo under `build/`), so that a reviewer can run any script alone. A script's outputs carry its name. Those of an
earlier run are removed when it opens the study: a script that fails leaves no stale result behind.
"""

import contextlib
import dataclasses
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import zarr

from pipeline import artefacts, config

CLASSES = {1: "excitatory", 0: "inhibitory"}

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "f1": "F1",
}

NETWORKS = {
    "cnn": "CNN",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "unet3d": "UNet3D",
    "r3d_18": "R3D-18",
    "mc3_18": "MC3-18",
    "r2plus1d_18": "R(2+1)D-18",
}

#: Methods of partner assignment: networks, and rules that need none.
PARTNER_NETWORKS = {"avan": "AVAN", "mask_pruner": "Mask pruner", "proximity_pruner": "Proximity pruner"}
PARTNER_RULES = {
    "largest_overlap": "Rule: largest overlaps",
    "darker_is_pre": "Rule: nearest pair, darker is presynaptic",
    "random_direction": "Rule: nearest pair, random direction",
}

#: What a network sees: one section, several as channels of a 2D network, or a cube.
KINDS = ("2D", "2.5D", "3D")


class StudyError(RuntimeError):
    """An input that is missing or unfit, or a claim that does not hold; the text says which and what to do."""


class Value(NamedTuple):
    """A result: the raw value, and the text that the manuscript shows."""

    value: object
    text: str


# --- One way to write numbers ---------------------------------------------------------------------------------------


def _signed(number, digits):
    """Fixed decimals, a true minus sign, and no minus before a zero."""
    text = f"{_finite(number):,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def _finite(number):
    if not math.isfinite(number):
        raise StudyError(f"{number} is no result that can be reported")
    return float(number)


def count(n):
    """`1,234`"""
    return Value(int(n), f"{int(n):,}")


def number(value, digits=2):
    """`0.87`"""
    return Value(_finite(value), _signed(value, digits))


def significant(value, digits=2):
    """`0.0077`, and `7.7 × 10⁻⁵` below a thousandth: so many significant digits, for values of any size."""
    magnitude = math.floor(math.log10(abs(_finite(value)))) if value else 0
    if magnitude >= -3:
        return Value(float(value), _signed(value, max(0, digits - 1 - magnitude)))
    power = str(magnitude).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return Value(float(value), f"{_signed(value / 10.0**magnitude, digits - 1)} × 10{power}")


def percent(fraction, digits=0):
    """`12%`, of a fraction."""
    return Value(_finite(fraction), _signed(100 * fraction, digits) + "%")


def estimate(value, low, high, digits=2):
    """`0.87 [0.82, 0.91]`: an estimate with its interval; the raw value is the estimate."""
    return Value(_finite(value), f"{_signed(value, digits)} [{_signed(low, digits)}, {_signed(high, digits)}]")


def share(fraction, low, high, digits=1):
    """`99.4% [96.8%, 100.0%]`: a share with its interval; the raw value is the share."""
    brackets = (percent(part, digits).text for part in (low, high))
    return Value(_finite(fraction), f"{percent(fraction, digits).text} [{', '.join(brackets)}]")


def p_value(p):
    """`p = 0.023`, or `p < 0.001`."""
    if not 0 <= p <= 1:
        raise StudyError(f"{p} is no p-value")
    return Value(float(p), "p < 0.001" if p < 0.001 else f"p = {p:.3f}")


def text(words):
    """Words, such as a model's name."""
    return Value(str(words), str(words))


def sample(frame):
    """`1,234 synapses of 25 presynaptic neurons`, of rows with `pre_neuron_id`."""
    return f"{count(len(frame)).text} synapses of {count(frame['pre_neuron_id'].nunique()).text} presynaptic neurons"


def require(holds, claim):
    """Stop with StudyError unless `claim`, which the script is about to show, holds."""
    if not holds:
        raise StudyError(f"the claim does not hold: {claim}. Change the text that makes it, or find out why")


# --- The study ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Study:
    """One script's view of an edition: `config`, `build`, and `script`, its path in the repository."""

    config: config.Config
    build: artefacts.Build
    script: Path
    edition: "Study | None" = None  # of a script about a folder of real data beside an edition

    @property
    def simulated(self):
        return self.config.source.kind == "simulated"

    @property
    def data_phrase(self):
        """What the data are, for captions; no caption of a simulation may omit it."""
        source = self.config.source
        if source.kind == "simulated":
            return "simulated neuropil"
        if source.kind == "cave":
            return f"MICrONS, {source.datastack}, materialization version {source.materialization_version}"
        kind = "connectome" if source.kind == "connectome" else "electron microscopy"
        return f"{kind} of the folder {self.config.data.resolve().name}" if self.config.data else kind

    @property
    def interval_phrase(self):
        """What the brackets and bands are, for captions."""
        stats = self.config.stats
        return (
            f"{percent(stats.confidence).text} intervals of a bootstrap that resamples presynaptic neurons within "
            f"their class ({count(stats.n_bootstrap).text} replicates)"
        )

    @property
    def families(self):
        """`{family: its models}` in the order of the configuration: the seeds of one entry, or an entry by itself."""
        families = {}
        for model in self.config.models:
            families.setdefault(model.family or model.name, []).append(model)
        return families

    @property
    def family_labels(self):
        """`{family: label for readers}`; no two are alike."""
        labels = {}
        for family, (model, *_) in self.families.items():
            label = self._label(model)
            labels[family] = label if label not in labels.values() else f"{label}, {family}"
        return labels

    @property
    def model_labels(self):
        """`{name: label for readers}` of the models, in the order of the configuration."""
        labels = self.family_labels
        return {
            model.name: labels[model.family] + f", seed {model.seed}" if model.family else labels[model.name]
            for model in self.config.models
        }

    def seen_by(self, model):
        """`(kind, n)`: what a model sees, one of KINDS, and how many sections of it."""
        if config.DIMENSIONS[model.network] == 3:
            return "3D", (model.crop or self.config.extract.cube_zyx)[0]
        return "2D" if model.sections == 1 else "2.5D", model.sections

    def _label(self, model):
        """What tells a model from others, apart from its seed."""
        kind, sections = self.seen_by(model)
        own_norm = "group" if model.network == "unet3d" else "batch"
        parts = {
            f"{sections} sections": kind == "2.5D",
            f"{str(model.norm).capitalize()}Norm": model.norm not in (None, own_norm),
            "pretrained": model.pretrained,
            "untrained": not model.trained,
            f"{percent(model.train_share).text} of the training neurons": model.train_share < 1,
            f"{model.preset} recipe": model.preset is not None,
            "with partner mask": model.attention,
            "cross-validated": model.folds,
        }
        return ", ".join([NETWORKS[model.network], *(part for part, holds in parts.items() if holds)])

    def read(self, path):
        """A JSON, CSV or Parquet file of the build; StudyError says what makes a missing one."""
        path = Path(path)
        if not path.is_file():
            raise StudyError(f"{self.script} needs {path}, which does not exist: `make` builds what a script needs")
        readers = {".json": artefacts.read_json, ".csv": pd.read_csv, ".parquet": pd.read_parquet}
        return readers[path.suffix](path)

    def values(self, script):
        """`{name: Value}` of an analysis script."""
        return {name: Value(**entry) for name, entry in self.read(self.build.analysis / f"{script}.json").items()}

    def values_if_any(self, script):
        """As `values`; nothing where this edition has no such analysis."""
        return self.values(script) if (self.build.analysis / f"{script}.json").is_file() else {}

    def frame(self, script, name):
        """A table that an analysis script saved beside its values."""
        return self.read(self.build.analysis / f"{script}.{name}.parquet")

    def predictions(self, model):
        """Predictions of a model, checked against the cohort, sorted by `synapse_id`.

        In those of a cross-validated model every synapse is a test synapse, whatever its split in the cohort.
        """
        path = self.build.predictions(model)
        rows = self.read(path).sort_values("synapse_id", ignore_index=True)
        crossed = any(entry.name == model and entry.folds for entry in self.config.models)
        keys = ["synapse_id", "pre_neuron_id", "label", "fold" if crossed else "split"]
        known = rows[keys].merge(self.read(self.build.synapses)[keys], on=keys)
        if len(known) != len(rows) or rows["synapse_id"].duplicated().any():
            raise StudyError(f"{path} does not fit {self.build.synapses}; train the model again")
        if not rows["p_excitatory"].between(0, 1).all():
            raise StudyError(f"{path}: p_excitatory must lie in [0, 1]; train the model again")
        return rows

    def patches(self, synapse_ids):
        """2D patches `[N, Y, X]` uint8 of the synapses, in their order."""
        index = self.read(self.build.patches / "index.parquet")["synapse_id"]
        row = pd.Series(index.index, index=index).reindex(synapse_ids)
        if row.isna().any():
            raise StudyError(f"no patch of synapse {row.index[row.isna()][0]} in {self.build.patches}; extract again")
        images = zarr.open_group(self.build.patches / "images.zarr", mode="r")["patch"]
        return images.get_orthogonal_selection((row.to_numpy(dtype=np.int64),))

    def outputs(self):
        """Files that this script made, now or in an earlier run: those of its folder with its name."""
        return sorted((self.build.root / self.script.parent).glob(f"{self.script.stem}.*"))

    def save(self, values, **frames):
        """Write `analysis/<script>.json`, `{name: {"value", "text"}}`, after `analysis/<script>.<frame>.parquet`."""
        for name, frame in frames.items():
            artefacts.write_parquet(self.build.analysis / f"{self.script.stem}.{name}.parquet", frame)
        entries = {name: value._asdict() for name, value in values.items()}
        artefacts.write_json(self.build.analysis / f"{self.script.stem}.json", entries)

    def save_figure(self, figure, caption):
        """Write `figures/<script>.caption.md`, `.svg` and `.png`: all of them, or none."""
        with contextlib.ExitStack() as stack:
            paths = [stack.enter_context(artefacts.atomic(self._output(f))) for f in ("png", "svg", "caption.md")]
            figure.savefig(paths[0])
            figure.savefig(paths[1], metadata={"Date": None})
            paths[2].write_text(self._caption(caption), encoding="utf-8")

    def save_table(self, table, caption, words=()):
        """Write `tables/<script>.caption.md`, `.csv` and `.md`: all of them, or none. Cells are texts.

        The first column and those named in `words` are set flush left, so that long ones wrap; numbers flush right.
        """
        with contextlib.ExitStack() as stack:
            paths = [stack.enter_context(artefacts.atomic(self._output(f))) for f in ("md", "csv", "caption.md")]
            align = ["left" if n == 0 or name in words else "right" for n, name in enumerate(table.columns)]
            paths[0].write_text(
                table.to_markdown(index=False, disable_numparse=True, colalign=align) + "\n", encoding="utf-8"
            )
            table.to_csv(paths[1], index=False)
            paths[2].write_text(self._caption(caption), encoding="utf-8")

    def _output(self, suffix):
        return self.build.root / self.script.parent / f"{self.script.stem}.{suffix}"

    def _caption(self, caption):
        """One line that says what the data are and which script made it."""
        caption = " ".join(caption.split())
        if self.data_phrase not in caption:
            raise StudyError(f"the caption of {self.script} does not say what the data are ({self.data_phrase})")
        return f"{caption} Source: `{self.script}`.\n"


def study(script, on_data=False):
    """Open the study for `script`, a path in the repository such as "figures/performance.py".

    With `on_data` the script is about a folder of real data beside the edition, whose results have a build of their
    own; `study.edition` is then the study of the edition itself.
    """
    edition = config.load(os.environ.get("SYNAPSE_EI_CONFIG", "demo"), os.environ.get("SYNAPSE_EI_DATA"))
    build = artefacts.Build(edition.name, os.environ.get("SYNAPSE_EI_BUILD", "build"))
    if on_data and edition.data is None:
        raise StudyError(f"{script} is about a folder of real data: set SYNAPSE_EI_DATA to it")
    opened = Study(edition, build.on(edition.data) if on_data else build, Path(script))
    if on_data:
        opened = dataclasses.replace(opened, edition=Study(edition, build, Path(script)))
    for path in opened.outputs():
        path.unlink()
    return opened
