"""Every check of a deployment: one small function each, in one table (``checks``)."""

from lockstep.verifying.checks import CHECKS, Check
from lockstep.verifying.findings import Finding, Status
from lockstep.verifying.running import Checked, verify

__all__ = ["CHECKS", "Check", "Checked", "Finding", "Status", "verify"]
