"""The one base class of the errors that this project raises on purpose."""


class PipelineError(Exception):
    """An input, a setting or a file that cannot be used; the text says which, and what to do.

    `python -m pipeline` ends with the text alone. Any other exception is a defect and keeps its traceback.
    """
