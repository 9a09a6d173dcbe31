"""All checks in the order in which a newcomer mends, and an encoder held against them."""

from __future__ import annotations

from effbench.conformance import counting, exits, gradients, one_size, outputs, settings, state
from effbench.conformance.check import Check, Result, judge, seeded
from effbench.conformance.subject import Subject
from effbench.encoders.contract import exits_of

EXIT_CHECKS: tuple[Check, ...] = (exits.exit_named, exits.exit_leaves, exits.exit_mixed, exits.exit_refused)
"""Of encoders that have `exits`."""

CHECKS: tuple[Check, ...] = (
    outputs.runs,
    outputs.shapes,
    outputs.odd_sizes,
    state.no_global_state,
    outputs.determinism,
    outputs.look_up_by_name,
    state.no_state,
    outputs.batch_invariance,
    *EXIT_CHECKS,
    state.state_dict,
    outputs.dtype,
    gradients.gradients,
    gradients.autocast,
    settings.settings,
    one_size.one_size,
    counting.meta,
    counting.macs,
)
"""Each stands after those that it requires."""


def checks_for(subject: Subject) -> tuple[Check, ...]:
    """The checks that apply to a subject."""
    with seeded():
        try:
            has_exits = bool(exits_of(subject.build()))
        except Exception:
            has_exits = False  # what is wrong is for `runs` to say
    return CHECKS if has_exits else tuple(one for one in CHECKS if one not in EXIT_CHECKS)


def conform(subject: Subject) -> list[Result]:
    """Every check's result. One whose requirement is not met is skipped: it would blame for the wrong thing."""
    results: dict[str, Result] = {}
    for one in checks_for(subject):
        unmet = [name for name in one.requires if name in results and results[name].status != "ok"]
        if unmet:
            results[one.name] = Result(one.name, "skipped", f"needs {unmet[0]}")
        else:
            results[one.name] = judge(one, subject)
    return list(results.values())
