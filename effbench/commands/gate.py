"""`effbench gate`: step C of ECO-M2F, a gate for one price of a layer, and what it is worth."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from effbench.commands.options import Folder, Json


def gate(
    folder: Folder,
    beta: Annotated[float, typer.Option(help="What a layer costs in PQ (0 to 1); the paper's trade-off.")],
    k: Annotated[int, typer.Option(help="Leave exits above this layer out; 0 for none.")] = 0,
    loss: Annotated[
        str, typer.Option(help="hard_ce, or of the paper's supplement: u_ce, soft_ce, soft_mse.")
    ] = "hard_ce",
    as_json: Json = False,
) -> None:
    """Step C of early exit: train a gate from what `effbench derive` found, in seconds, into the model's folder.

    `effbench eval --exit gate` uses it; the model's weights stay as they are, and another gate takes its place. Shown
    is what it is worth for the validation images, with 95% bootstrap intervals: beside every fixed exit, its own exits
    dealt by chance, and an oracle that goes no deeper.
    """
    from effbench.training.exit_run import make_gate
    from effbench.training.gate import GateRecipe

    answer = make_gate(folder, GateRecipe(beta, k, loss))
    console = Console()
    console.print(_exits(answer))
    worth, of_images = (answer["value"][metric] for metric in ("dataset", "image"))
    console.print(_worth(worth))
    console.print(_share(of_images["share"]), soft_wrap=True)
    named = {"gate": "gate", "random": "dealt by chance", "oracle": "oracle"}
    means = ", ".join(f"{name} {_estimate(of_images[key])}" for key, name in named.items())
    console.print(f"Mean of the images' own PQ: {means}", soft_wrap=True, highlight=False)
    console.print(
        f"Gate: {answer['path']}, trained in {answer['seconds']:.1f} s from {answer['images']['train']} images",
        markup=False,
        soft_wrap=True,
    )
    if as_json:
        print(json.dumps(answer))


def _exits(answer: dict[str, Any]) -> Table:
    table = Table("leave after", title="Images: where utility asks them to leave, and where the gate lets them")
    columns = [(split, of) for split in answer["images"] for of in ("target", "chosen")]
    for split, of in columns:
        table.add_column(f"{split}, {'gate' if of == 'chosen' else of}", justify="right")
    for layer in map(str, answer["exits"]):
        table.add_row(f"layer {layer}", *(str(answer[of][split]["histogram"][layer]) for split, of in columns))
    table.add_row("mean", *(f"{answer[of][split]['mean']:.2f}" for split, of in columns))
    return table


def _worth(value: dict[str, Any]) -> Table:
    table = Table("exits", title="PQ of the validation images")
    for name in ("mean", "PQ", "gate minus it"):
        table.add_column(name, justify="right")
    depth, over = f"{value['mean_exit']:.2f}", value["over_fixed"]
    table.add_row("gate", depth, _estimate(value["gate"]))
    table.add_row("dealt by chance", depth, _estimate(value["random"]), _estimate(value["over_random"]))
    for layer, fixed in value["fixed"].items():
        table.add_row(f"all at {layer}", f"{layer:.2f}", _estimate(fixed), _estimate(over[layer]))
    mixed = value["gate"]["value"] - value["over_mix"]["value"]
    table.add_row("next two, mixed", depth, f"{mixed:.2f}", _estimate(value["over_mix"]))
    return table


def _estimate(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"


def _share(share: dict[str, float] | None) -> str:
    if share is None:
        return "The oracle's gain over chance is not above zero for sure: there is nothing to win here"
    return "Of the oracle's gain over chance, the gate wins {value:.0%} ({low:.0%} to {high:.0%})".format(**share)
