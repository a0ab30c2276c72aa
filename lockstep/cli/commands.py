"""Every command, and the function that runs it.

A process imports the module of its own command only. Those of the others take a third of the time of a short command.
"""

from importlib import import_module
from typing import Final

import typer

#: Name of a command -> module of this package and attribute: a function, or a group of commands.
COMMANDS: Final = {
    "up": "up.up",
    "setup": "setup.setup",
    "verify": "verify.verify_",
    "deploy": "deploy.deploy",
    "rollback": "deploy.rollback",
    "releases": "deploy.releases",
    "web": "web.web",
    "worker": "worker.worker",
    "scheduler": "scheduler.scheduler",
    "supervisor": "supervisor.supervisor",
    "reload": "reload.reload",
    "scale": "scale.scale",
    "listener": "listener.listener",
    "schedules": "schedules.app",
    "send": "send.send",
    "status": "status.status",
    "queues": "tables.queues",
    "groups": "tables.groups",
    "workers": "processes.workers",
    "processes": "processes.processes",
    "scaling": "scaling.scaling",
    "health": "health.health",
    "message": "message.message",
    "messages": "messages.messages",
    "cleanup": "cleanup.cleanup",
    "cancel": "operations.cancel",
    "promote": "operations.promote",
    "retry": "operations.retry",
    "purge": "operations.purge",
    "drain": "drain.drain",
    "pause": "switches.pause",
    "resume": "switches.resume",
    "skip": "dead.skip",
    "dead": "dead.app",
    "accept": "intake.accept",
    "loadtest": "loadtest.loadtest",
    "fsck": "fsck.fsck",
    "export": "backup.export",
    "import": "backup.import_",
    "limits": "limits.app",
}


def make_app(command: str | None = None) -> typer.Typer:
    """Return the command line with all commands, or only with ``command`` when there is such a command."""
    app = typer.Typer(
        name="lockstep",
        help="Messages that share a group run one at a time, in order, across every worker.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_nothing)
    for name in (command,) if command in COMMANDS else COMMANDS:
        module, _, attribute = COMMANDS[name].partition(".")
        found = getattr(import_module(f"lockstep.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _nothing() -> None:
    # Without it, Typer takes an application with one command for that command.
    return None
