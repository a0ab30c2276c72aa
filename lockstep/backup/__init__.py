"""What is unfinished or dead, as JSON lines: written by ``Export``, read back by ``Import``."""

from lockstep.backup.exporting import Export
from lockstep.backup.importing import Import, Imported

__all__ = ["Export", "Import", "Imported"]
