"""How a run goes: what bars say beside the values of metrics."""

from __future__ import annotations

from symbucket.callback.run_record import RunRecord


def pace(record: RunRecord, seconds: float) -> list[str]:
    """Return speed, padding and bucket of the epoch as texts.

    ``seconds`` are those that the epoch took, without compiling.
    """
    use, parts = record.in_epoch, []
    amount, unit = (use.tokens, "tokens") if use.tokens else (float(use.samples), "samples")
    if seconds > 0 and use.batches > 1:
        parts.append(f"{amount / seconds:,.0f} {unit}/s")
    if use.padding is not None:
        parts.append(f"padding {use.padding:.0%}")
    if record.bucket:
        parts.append(f"bucket {record.bucket}")
    return parts


def time_left(record: RunRecord, seconds: float, done: int, total: int | None) -> str:
    """Return the time that is left of the epoch, and of all epochs if there are more.

    ``done`` of the ``total`` batches of the epoch are done; ``seconds`` are as for ``pace``.
    """
    if total is None or record.in_epoch.batches < 2 or done >= total:
        return ""
    each = seconds / record.in_epoch.batches
    left = (total - done) * each
    more = record.epochs_planned - record.epoch - 1
    if more <= 0:
        return f"{duration(left)} left"
    between = record.seconds.get("validation", 0.0) + record.seconds.get("checkpoint", 0.0)
    whole = left + more * total * each + between / max(1, len(record.epochs)) * (more + 1)
    return f"{duration(left)} left, {duration(whole)} in all"


def duration(seconds: float) -> str:
    """Return seconds as minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
