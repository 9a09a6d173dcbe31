"""`effbench check`: does an encoder keep the contract?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def check(
    name: Annotated[str, typer.Argument(help="A registered encoder, or MODULE:CLASS of one that can be imported.")],
    settings: Annotated[
        list[str], typer.Option("--set", help="One of the encoder's settings, as NAME=VALUE. Repeatable.")
    ] = [],  # noqa: B006 (typer reads the default)
    backbone: Annotated[
        str, typer.Option(help="The pyramid to build the encoder on: a preset or timm name.")
    ] = "resnet_mini",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer as one JSON object on the last line.")
    ] = False,
) -> None:
    """Hold an encoder against the contract: shapes, dtypes, batches, state, gradients, settings, MAC accounting.

    It may be registered here, offered by an installed package, or lie in a module of your own. Ends with code 1 when
    a check fails, and says for each what was found, what the contract wants and how to mend it.
    """
    from effbench.conformance.kit import conform
    from effbench.conformance.subject import find_subject
    from effbench.errors import InputError

    subject = find_subject(name, settings, backbone)
    if settings:  # what it cannot be built with is bad input, no failed check
        try:
            subject.build()
        except Exception as error:
            said = " ".join(str(error).split())
            raise InputError(f"{name} cannot be built with {', '.join(settings)}: {said}") from error
    results = conform(subject)
    failed = [result for result in results if result.status == "failed"]
    if as_json:
        answer = {
            "encoder": name,
            "settings": {**subject.defaults, **subject.settings},
            "backbone": backbone,
            "conforms": not failed,
            "checks": [asdict(result) for result in results],
        }
        print(json.dumps(answer))
    else:
        console = Console()
        chosen = ", ".join(f"{key}={value}" for key, value in subject.settings.items())
        title = f"{name} on {backbone}" + (f", {chosen}" if chosen else "")
        console.print(title, markup=False, soft_wrap=True)
        table = Table("check", "result")
        for result in results:
            table.add_row(
                result.check, f"{result.status}, {result.found}" if result.status == "skipped" else result.status
            )
        console.print(table)
        for result in failed:
            console.print(f"- {result.line}", markup=False, soft_wrap=True)
        skipped = sum(result.status == "skipped" for result in results)
        console.print(
            f"{len(failed)} of {len(results)} checks failed, {skipped} skipped" if failed else "All checks passed"
        )
    if failed:
        raise typer.Exit(1)
