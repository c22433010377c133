"""The group of all commands, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from featcache.cli.options import echo
from featcache.errors import FeatcacheError, Interrupted, MachineError
from featcache.wording import printable

# The module that defines each command, under its name with _ for -. It is imported when it runs.
_COMMANDS = {
    "demo": "featcache.cli.demo",
    "extract": "featcache.cli.extract",
    "check": "featcache.cli.check",
    "fit-heads": "featcache.cli.fit",
    "curves": "featcache.cli.curves",
    "predict": "featcache.cli.predict",
    "report": "featcache.cli.report",
    "ls": "featcache.cli.inspect",
    "info": "featcache.cli.inspect",
    "explain-miss": "featcache.cli.explain",
    "verify": "featcache.cli.upkeep",
    "repair": "featcache.cli.upkeep",
    "merge": "featcache.cli.upkeep",
    "gc": "featcache.cli.upkeep",
    "export": "featcache.cli.upkeep",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            # Its message repeats what was typed.
            raise click.UsageError(printable(error.format_message()), error.ctx) from error
        except FeatcacheError as error:
            if ctx.params["debug"]:
                raise
            _say(error)
        except KeyboardInterrupt:
            if ctx.params["debug"]:
                raise
            _say(Interrupted("interrupted", cure="Nothing that was finished is lost."))
        except OSError as error:
            if error.errno == errno.EPIPE:
                # The reader of a pipe has enough (`| head`): no failure, and nothing more to say.
                # The interpreter flushes stdout once more when it ends.
                sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - it stays open to the end
                sys.exit(0)
            if ctx.params["debug"]:
                raise
            place = f"{error.filename}: " if error.filename else ""
            _say(
                MachineError(
                    f"{place}{error.strerror or error}", cure="Check permissions and the disk."
                )
            )


def _say(error: FeatcacheError) -> NoReturn:
    echo(f"error: {error.what}", err=True)
    if error.cure:
        echo("       " + error.cure.replace("\n", "\n       "), err=True)
    sys.exit(error.exit_code)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="featcache")
def main(*, debug: bool) -> None:  # noqa: ARG001 - read from the context where errors are caught
    """Train classification heads on frozen transformers in seconds.

    \b
      featcache extract reviews.csv --backbone models/distilbert
      featcache fit-heads reviews.csv --label stars
      featcache predict runs/reviews-stars/bundle --text "Never again."

    The first command runs the frozen backbone once and caches its hidden states; the second tries
    heads on every layer of the cache and says which one to use and why. `featcache demo` shows it
    all on real text.
    """
    # Tokenizers fork no workers of ours; the variable only silences their warning about it.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # Where the locale knows no Unicode, a sign that it lacks is escaped rather than an error.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
