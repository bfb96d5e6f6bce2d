"""`python -m study`: which commands there are. Results go to stdout, progress to stderr.

Exit codes: 0 done, 1 done with failed trials, 2 bad usage or config, 3 missing data or no space,
130 interrupted. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

from collections.abc import Callable

import typer

from study.commands import answering, clusters, reference, running, single, watching

app = typer.Typer(
    help="Ask whether an auxiliary loss, a weighter or an attack makes a model better: "
    "run a study, read the answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order of the help.
COMMANDS: dict[str, Callable[..., None]] = {
    "run": running.run,
    "resume": running.resume,
    "extend": running.extend,
    "fetch": running.fetch,
    "stop": running.stop,
    "status": watching.status,
    "list-studies": watching.list_studies,
    "mirror": watching.mirror,
    "dashboard": watching.dashboard,
    "train": single.train,
    "evaluate": single.evaluate,
    "look": single.look,
    "reproduce": answering.reproduce,
    "compare": answering.compare,
    "import": answering.import_,
    "export": answering.export,
    "report": answering.report,
    "list": reference.list_,
    "show": reference.show,
    "doctor": reference.doctor,
    "simulate": answering.simulate,
    "check": clusters.check,
    "submit": clusters.submit,
    "launch": clusters.launch,
    "plan": running.plan,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
