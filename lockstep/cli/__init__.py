"""The console script ``lockstep``: one module a command.

Exit codes: 0 done, 1 failed, 2 usage, 3 timed out or not ready, 4 Redis not reachable, 5 refused.
"""

import sys

import typer

from lockstep.cli import (
    backup,
    cleanup,
    dead,
    deploy,
    drain,
    fsck,
    health,
    intake,
    limits,
    listener,
    loadtest,
    message,
    messages,
    operations,
    processes,
    reload,
    scale,
    scaling,
    scheduler,
    schedules,
    send,
    setup,
    status,
    supervisor,
    switches,
    tables,
    up,
    verify,
    web,
    worker,
)
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

app = typer.Typer(
    name="lockstep",
    help="Messages that share a group run one at a time, in order, across every worker.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("up")(up.up)
app.command("setup")(setup.setup)
app.command("verify")(verify.verify_)
app.command("deploy")(deploy.deploy)
app.command("rollback")(deploy.rollback)
app.command("releases")(deploy.releases)
app.command("web")(web.web)
app.command("worker")(worker.worker)
app.command("scheduler")(scheduler.scheduler)
app.command("supervisor")(supervisor.supervisor)
app.command("reload")(reload.reload)
app.command("scale")(scale.scale)
app.command("listener")(listener.listener)
app.add_typer(schedules.app, name="schedules")
app.command("send")(send.send)
app.command("status")(status.status)
app.command("queues")(tables.queues)
app.command("groups")(tables.groups)
app.command("workers")(processes.workers)
app.command("processes")(processes.processes)
app.command("scaling")(scaling.scaling)
app.command("health")(health.health)
app.command("message")(message.message)
app.command("messages")(messages.messages)
app.command("cleanup")(cleanup.cleanup)
app.command("cancel")(operations.cancel)
app.command("promote")(operations.promote)
app.command("retry")(operations.retry)
app.command("purge")(operations.purge)
app.command("drain")(drain.drain)
app.command("pause")(switches.pause)
app.command("resume")(switches.resume)
app.command("skip")(dead.skip)
app.add_typer(dead.app, name="dead")
app.command("accept")(intake.accept)
app.command("loadtest")(loadtest.loadtest)
app.command("fsck")(fsck.fsck)
app.command("export")(backup.export)
app.command("import")(backup.import_)
app.add_typer(limits.app, name="limits")


def main() -> None:
    """Run a command. Ends the process with one of the exit codes above, never with a trace of our errors."""
    add_working_directory()
    decode_arguments()
    escape_what_cannot_be_written()
    try:
        check_own_packages()
        app()
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
