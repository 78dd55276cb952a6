"""The real caveclient: queries, and the loopback sandbox that stands in for the service; imports no other stage."""

from pipeline.errors import PipelineError


class CaveError(PipelineError):
    """The annotation service cannot give what was asked; the text says what to do. It never holds a token."""
