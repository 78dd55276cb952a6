"""Wiring: each function is one stage of `python -m pipeline`, and the only place where stages meet.

Imports are inside the functions, so that training on a bare GPU machine never needs caveclient or cloud-volume.
"""

import logging

from pipeline import artefacts, config
from pipeline.artefacts import Build

log = logging.getLogger("pipeline")


class StageError(RuntimeError):
    """A stage that cannot run as asked; the text says what to do."""


def _edition(options):
    """The configuration and the build tree that the command line names."""
    edition = config.load(options.config, options.data)
    return edition, Build(edition.name, options.build)


def settings(options):
    """Write one JSON file a section of the configuration, touching only those whose content changed."""
    edition, build = _edition(options)
    sections = {name: getattr(edition, name) for name in ("source", "cohort", "extract", "stats")}
    sections |= {f"model-{model.name}": model for model in edition.models}
    folder = build.root / "settings"
    for name, section in sections.items():
        value = {"seed": edition.seed, name: section.model_dump(mode="json")}
        path = folder / f"{name}.json"
        if not path.is_file() or artefacts.read_json(path) != value:
            artefacts.write_json(path, value)
