"""What an encoder for one image size promises, where there is such a form."""

from __future__ import annotations

from effbench.conformance.check import check
from effbench.conformance.compare import difference, moved
from effbench.conformance.subject import SIZE, Subject
from effbench.encoders.contract import SettingError

OTHER = (SIZE[1], SIZE[0])
ATOL = 1e-4


@check(
    wants=f"of at_size the encoder's own outputs within {ATOL}, ValueError at another size, the encoder as it was",
    mend="override at_size to change a copy that keeps the weights and compares the maps' shapes with its own",
    requires=("determinism", "no_state"),
)
def one_size(subject: Subject) -> str | None:
    encoder, features = moved(subject.build()), subject.pyramid()
    given = subject.run(encoder, features)
    try:
        sized = encoder.at_size(*SIZE)
    except SettingError:
        return None  # it has no such form
    if found := difference(given, subject.run(sized, features), atol=ATOL):
        return f"at its size, {found}"
    if found := difference(given, subject.run(encoder, features)):
        return f"after at_size, {found} in the encoder itself"
    try:
        subject.run(sized, subject.pyramid(2, OTHER))
    except ValueError:
        return None
    return f"made for {SIZE[0]}x{SIZE[1]}, it takes {OTHER[0]}x{OTHER[1]}"
