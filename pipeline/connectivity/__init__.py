"""Neuron class from connectivity, without pixels: features, folds, models, fusion with EM; imports no other stage."""

from pipeline.errors import PipelineError


class ConnectivityError(PipelineError):
    """A connectome or features that cannot be used; the text names file, row, column and value, or the classes."""
