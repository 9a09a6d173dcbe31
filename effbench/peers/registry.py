"""Peers by name: ours, those with an adapter here, and those that other packages offer."""

from __future__ import annotations

import importlib.metadata
from functools import partial

from effbench.errors import InputError
from effbench.peers import extensions, own, pytorch, triton_ports
from effbench.peers.contract import Implementation, Peer

ENTRY_POINTS = "effbench.kernel_peers"


def peers() -> dict[str, Peer]:
    """name -> peer, nothing loaded; InputError where a package offers a name that is taken."""
    found = {**own.peers(), **pytorch.peers(), **triton_ports.peers(), **extensions.peers()}
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if point.name in found:
            raise InputError(f"entry point {point.value} offers kernel peer {point.name!r}, which is there already")
        found[point.name] = Peer(partial(_offered, point), package=point.dist.name if point.dist else None)
    return found


def find(name: str) -> Peer:
    """The peer called `name`; InputError when there is none."""
    known = peers()
    if name not in known:
        raise InputError(f"no kernel is called {name!r}; expected one of {', '.join(known)}")
    return known[name]


def version(peer: Peer) -> str | None:
    """Of the peer's package; None for one that is ours, or that was installed without telling."""
    try:
        return importlib.metadata.version(peer.package) if peer.package else None
    except importlib.metadata.PackageNotFoundError:
        return None


def _offered(point: importlib.metadata.EntryPoint) -> Implementation:
    op = point.load()
    return Implementation(op, getattr(op, "fused", None))
