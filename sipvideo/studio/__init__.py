"""Results of a run looked through, mended by edits that never change it, and taught to the model."""

from sipvideo.studio.document import Change, ConflictError, Document
from sipvideo.studio.operations import EditError

__all__ = ["Change", "ConflictError", "Document", "EditError"]
