"""A report as JSON: what `report --json` prints, and what the page contains."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from parallelize.report.data import Report, WorkerAccount, agent_versions, images
from parallelize.runs.results.failed import as_json as failure_json
from parallelize.runs.state.view import as_json as status_json
from parallelize.units import iso

SCHEMA = 1


def as_json(report: Report, *, files: bool = True) -> dict[str, Any]:
    """Return the object that `report --json` prints; costs in US dollars, sizes in bytes.

    A page has its own table of files, and can do without `files`.
    """
    run, provenance = report.found.snapshot.run, report.found.provenance
    counts = status_json(report.status)
    kept = (
        "run", "state", "total", "done", "failed", "without_output", "running", "waiting",
        "elapsed_seconds", "workers_unread",
    )  # fmt: skip
    return {
        "schema": SCHEMA,
        **{name: counts[name] for name in kept},
        "as_of": counts["as_of"],
        "emulated": report.found.emulated,
        "machines_still_there": report.still_there,
        "cost_usd": asdict(report.cost) if report.cost else None,
        "seconds_per_file": asdict(report.seconds) if report.seconds else None,
        "hints": list(report.hints),
        "provenance": {
            "parallelize": provenance.version,
            "agents": agent_versions(report),
            "images": images(report),
            "region": provenance.region,
            "bucket": provenance.bucket,
            "input": run.input.uri,
            "output": run.output.uri,
            "command": list(run.command),
            "environment": run.environment.identity if run.environment else None,
            "container_image": run.image.digest if run.image else None,
            "created_at": run.created_at,
            "tags": dict(provenance.tags or {}),
            "settings": [asdict(setting) for setting in provenance.settings],
        },
        "workers": [_worker_json(account) for account in report.workers],
        "interruptions": [
            {"worker": one.worker, "at": iso(one.at), "reason": one.reason}
            for one in report.interruptions
        ],
        "failures": [failure_json(result) for result in report.failures],
        **({"files": [asdict(file) for file in report.files]} if files else {}),
    }


def _worker_json(account: WorkerAccount) -> dict[str, Any]:
    beat, phases = account.beat, account.phases
    return {
        "id": beat.worker,
        "state": account.worker.state,
        "type": beat.type,
        "zone": beat.zone,
        "slots": beat.slots,
        "done": beat.done,
        "failed": beat.failed,
        "handed_back": beat.handed_back,
        "busy_share": round(account.busy, 3),
        "reason": beat.reason,
        **{name: when and iso(when) for name, when in asdict(phases).items()},
        "hourly_usd": None if account.usd is None else beat.hourly_usd,
        "usd": account.usd,
        "peaks": beat.peaks.model_dump() if beat.peaks else None,
        "memory": beat.memory.model_dump(exclude={"peaks"}) if beat.memory else None,
        "gpus": [gpu.model_dump() for gpu in beat.gpus],
    }
