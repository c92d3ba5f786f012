"""Two examples for each command, at the end of its `--help`."""

from __future__ import annotations

EXAMPLES = {
    "run": (
        "parallelize run --local",
        "parallelize run -- ./convert.sh {} ::: scans/*.tif",
    ),
    "prep": ("parallelize prep --dry-run", "parallelize prep --inputs s3://my-bucket/scans/"),
    "enqueue": ("parallelize enqueue --limit 10", "parallelize enqueue"),
    "estimate": ("parallelize estimate", "parallelize estimate --sample 50 --dry-run"),
    "download": ("parallelize download out/", "parallelize download out/ --run scans --dry-run"),
    "runs": ("parallelize runs", "parallelize runs --json --local"),
    "status": ("parallelize status --watch", "parallelize status --json --run scans"),
    "failures": ("parallelize failures", "parallelize failures --json"),
    "logs": ("parallelize logs scan_0042.tif", "parallelize logs scan_0042.tif --attempt 1"),
    "explain": ("parallelize explain scan_0042.tif", "parallelize explain scan_0042.tif --json"),
    "report": ("parallelize report --open", "parallelize report --table files.csv"),
    "dashboard": ("parallelize dashboard --open", "parallelize dashboard --run scans --local"),
    "retry": ("parallelize retry", "parallelize retry scan_0042.tif scan_0999.tif"),
    "repro": ("parallelize repro scan_0042.tif", "parallelize repro scan_0042.tif --out debug/"),
    "check": (
        "parallelize check inputs/scan_0001.tif",
        'parallelize check a.tif --command "./job.sh --fast"',
    ),
    "launch": ("parallelize launch 4 --dry-run", "parallelize launch 4 --type c7i.xlarge"),
    "scale": ("parallelize scale 8 --dry-run", "parallelize scale 0"),
    "stop": ("parallelize stop", "parallelize stop --wait --run scans"),
    "kill": ("parallelize kill --dry-run", "parallelize kill --run scans"),
    "clean": ("parallelize clean --dry-run", "parallelize clean --keep-outputs --yes"),
    "init": ("parallelize init demo --example", "parallelize init"),
    "use": ("parallelize use local", "parallelize use aws"),
    "local": ("parallelize run --local", 'eval "$(parallelize local start)"'),
    "local start": (
        'eval "$(parallelize local start)"',
        "parallelize local start --port 5000 --quota 20",
    ),
    "local stop": ("parallelize local stop", "parallelize local stop && parallelize local start"),
    "local status": ("parallelize local status", "parallelize local status --json"),
    "local interrupt": (
        "parallelize local interrupt i-0a1b2c3d",
        "parallelize local interrupt i-0a1b2c3d --seconds 5",
    ),
    "local kill": ("parallelize local kill i-0a1b2c3d", "parallelize local status"),
    "doctor": ("parallelize doctor", "parallelize doctor --request-quota 64 --dry-run"),
    "setup": ("parallelize setup --dry-run", "parallelize setup --email ana@example.org"),
    "image": ("parallelize image build --dry-run", "parallelize image list"),
    "image build": (
        "parallelize image build --dry-run",
        "parallelize image build --base ubuntu-24.04 --package ffmpeg",
    ),
    "image list": ("parallelize image list", "parallelize image list --json"),
    "image prune": ("parallelize image prune --dry-run", "parallelize image prune --keep 2 --yes"),
    "config": ("parallelize config show", "parallelize config show --json"),
    "config show": ("parallelize config show", "parallelize config show --run scans --json"),
    "completion": (
        "parallelize completion fish > ~/.config/fish/completions/parallelize.fish",
        "source <(parallelize completion bash)",
    ),
    "help": ("parallelize help exit-codes", "parallelize help status"),
    "help exit-codes": ("parallelize help exit-codes", "parallelize help exit-codes | grep quota"),
}


def epilogue(command: str) -> str:
    """Return the end of a command's help; KeyError if the command has no examples."""
    return "\n".join(["Examples:", *(f"  {line}" for line in EXAMPLES[command])])
