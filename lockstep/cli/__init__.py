"""The console script ``lockstep``: one module a command.

Exit codes: 0 done, 1 failed, 2 usage, 3 timed out or not ready, 4 Redis not reachable, 5 refused.
"""

import sys

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
        raise
    except LockstepError as error:
        complain(str(error))
        sys.exit(exit_code(error))
    except OSError as error:
        if error.filename is not None or error.errno not in UNWRITABLE:
            raise
        end_unwritten(error)
