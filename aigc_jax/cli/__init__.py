"""The command `aigc`: finds the command, runs it, and turns whatever goes wrong into one line and an exit code.

    0    done
    1    a run that failed, or a figure that was not reached
    2    the user's mistake: an unknown name, a value of the wrong type, a mesh without its devices
    75   stopped by SIGTERM after a checkpoint: call again with --resume
    130  stopped by Ctrl-C

`--debug` gives the traceback instead of the line. JAX is not imported before a command needs it, so that `aigc list`
and every mistake on the command line are answered at once.
"""

from __future__ import annotations

import os
import sys
import traceback

from aigc_jax.cli.parser import parse
from aigc_jax.cli.table import COMMANDS, overview
from aigc_jax.errors import RunError, UserError, nearest
from aigc_jax.heap import keep_heap

OPTIONS = ("--help", "--version", "--debug")  # those that need no command


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    argv: the words after `aigc`; None means those of this process, which then keeps its heap between steps.
    """
    if argv is None:
        keep_heap()
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        return _command([word for word in argv if word != "--debug"])
    except SystemExit as stop:
        return _code(stop)
    except KeyboardInterrupt:
        return _say(
            "interrupted" + (": --resume continues from the newest checkpoint" if "train" in argv[:1] else ""), 130
        )
    except BrokenPipeError:  # `aigc list | head`: nobody reads any more, so nothing can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        expected = isinstance(error, (UserError, RunError))
        text = " ".join(str(error).split())
        line = text if expected else f"{type(error).__name__}: {text or 'no message'} (--debug shows where)"
        return _say(f"error: {line}", 2 if isinstance(error, UserError) else 1)


def run_file(path: str) -> None:
    """The last line of an experiment file, so that `python -m experiments.diffusion.ddpm ...` trains it.

    if __name__ == "__main__":
        run_file(__file__)
    """
    keep_heap()
    sys.exit(main(["train", path, *sys.argv[1:]]))


def _command(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if argv else 2
    if argv[0] == "--version":
        from aigc_jax import __version__

        print(f"aigc_jax {__version__}")
        return 0
    name, *rest = argv
    if name.startswith("-"):
        raise UserError(nearest(name, OPTIONS, "option"))
    if name not in COMMANDS:
        raise UserError(nearest(name, COMMANDS, "command"))
    command = COMMANDS[name]
    return command.run(parse(name, command, rest)) or 0


def _say(line: str, code: int) -> int:
    sys.stdout.flush()
    print(f"aigc: {line}", file=sys.stderr)
    return code


def _code(stop: SystemExit) -> int:
    if isinstance(stop.code, str):
        return _say(f"error: {stop.code}", 1)
    return 0 if stop.code is None else int(stop.code)
