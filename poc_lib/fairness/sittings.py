"""Fairness of one run over time: servers restarted or exchanged, cells given up."""

from collections.abc import Iterator, Mapping, Sequence

from poc_lib.fairness.line import FairnessLine

PASSING = {"status", "model_loaded", "simulated", "uptime", "uptime_s", "timestamp", "time", "mcp"}


def restart_lines(events: Sequence[Mapping]) -> Iterator[FairnessLine]:
    """Counters or uptime that fell between two snapshots of one server: it was started anew meanwhile."""
    last, sitting_of, falls = {}, {}, {}
    for event in events:
        counters = event.get("counters") or {}
        server, sitting = event.get("server"), event.get("sitting")
        for name, value in counters.items():
            if not name.endswith("_total") and "uptime" not in name:
                continue
            if value < last.get((server, name), value):
                where = "between two sittings" if sitting != sitting_of[server, name] else "within a sitting"
                falls.setdefault(
                    (server, where, event.get("cell")),
                    f"{name} fell from {last[server, name]:g} to {value:g}",
                )
            last[server, name], sitting_of[server, name] = value, sitting
    for (server, where, cell), evidence in falls.items():
        yield FairnessLine(
            "server restarted",
            f"{server} was started anew {where}, before or during {cell or 'a cell'} ({evidence}).",
            "warning" if where == "within a sitting" else "note",
            "What was warm was cold again, and settings may have changed.",
        )


def changed_server_lines(identities: Sequence[Mapping], events: Sequence[Mapping]) -> Iterator[FairnessLine]:
    """Servers whose software, version, model or details were others in a later sitting."""
    before = {identity["name"]: identity for identity in identities}
    for event in events:
        if event.get("event") != "sitting_started":
            continue
        for identity in event.get("servers") or []:
            old = _lasting(before.get(identity["name"], identity))
            new = _lasting(identity)
            changes = [
                f"{key}: {old.get(key)} → {new.get(key)}"
                for key in dict.fromkeys([*old, *new])
                if old.get(key) != new.get(key)
            ]
            if changes:
                yield FairnessLine(
                    "server changed",
                    f"{identity['name']} was another one from sitting {event['sitting'] + 1} on "
                    f"({'; '.join(changes[:3])}{'; …' if len(changes) > 3 else ''}).",
                    "warning",
                    "Its cells before and after do not belong into one figure: give it a run of its own.",
                )
            before[identity["name"]] = identity


def _lasting(identity: Mapping) -> dict[str, str]:
    """What should stay the same, flat; numbers inside details may be counters and are left out."""
    flat = {key: str(identity.get(key)) for key in ("software", "version", "model")}
    return flat | dict(_leaves(identity.get("details") or {}))


def _leaves(details: Mapping) -> Iterator[tuple[str, str]]:
    for key, value in details.items():
        if key in PASSING:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif isinstance(value, str | bool):
            yield key, str(value)
        elif isinstance(value, Sequence):
            yield key, ", ".join(sorted(map(str, value)))


def given_up_lines(events: Sequence[Mapping]) -> Iterator[FairnessLine]:
    """Cells that were ended after so many failures in a row."""
    for event in events:
        if event.get("event") == "cell_ended" and event.get("stopped_because"):
            yield FairnessLine(
                "given up",
                f"{event.get('cell') or event['server']} was given up with {event['not_sent']} frames not "
                f"sent ({event['stopped_because']}).",
                "warning",
                "Its rate stands for the frames before that only.",
            )
