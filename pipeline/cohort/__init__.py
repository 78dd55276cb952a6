"""Which synapses, with which labels, in which split, and the audit of leakage; imports no other stage."""

from pipeline.errors import PipelineError


class CohortError(PipelineError):
    """Tables or rows of which no cohort can be made; the text names the table, file, row, column or neurons."""
