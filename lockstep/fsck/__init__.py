"""Proves that what Redis holds fits together, and mends what does not."""

from lockstep.fsck.checking import Fsck
from lockstep.fsck.findings import Finding, Report

__all__ = ["Finding", "Fsck", "Report"]
