"""The console script ``lockstep``: one module a command.

Exit codes: 0 done, 1 failed, 2 usage, 3 timed out or not ready, 4 Redis not reachable, 5 refused.
"""

# ruff: noqa: E402
import signal
import sys

from lockstep.unhandled import hide_interrupts

hide_interrupts()  # at once: the imports below take longer than many commands run

from lockstep.cli.commands import make_app
from lockstep.cli.common import (
    UNWRITABLE,
    check_written,
    complain,
    decode_arguments,
    end_unwritten,
    escape_what_cannot_be_written,
)
from lockstep.errors import LockstepError, exit_code
from lockstep.shadowing import add_working_directory, check_own_packages


def main() -> None:
    """Run a command. Ends the process with one of the exit codes above, never with a trace of our errors."""
    add_working_directory()
    decode_arguments()
    escape_what_cannot_be_written()
    try:
        check_own_packages()
        make_app(next(iter(sys.argv[1:]), None))()
    except SystemExit:
        check_written()
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Else Python shows where its own end was interrupted.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise
    except LockstepError as error:
        complain(str(error))
        sys.exit(exit_code(error))
    except OSError as error:
        if error.filename is not None or error.errno not in UNWRITABLE:
            raise
        end_unwritten(error)
