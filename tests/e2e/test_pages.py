"""What the pages have a reader type is typed here, word for word."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.console_blocks import named, runs
from tests.e2e.conftest import PROGRAM, STRICT, Shell, administrator, only_local, wait_until
from tests.functional.container.images import make_certificate, needs_registry, serve_registry
from tests.functional.container.test_login import HASHED_TOKEN
from tests.functional.fleet.conftest import SYSTEMS
from tests.strict_aws.layer import World

from parallelize.bucket import auto_name
from parallelize.fleet.bundle import PLATFORMS, wheel_folder
from parallelize.local.cloud import LocalCloud, start, stop
from parallelize.local.records import REGION
from parallelize_core.names import Names

pytestmark = [pytest.mark.timeout(400), only_local]

USES_LOCAL = {"PARALLELIZE_LOCAL": "true"}
"""As after `parallelize use local`, for blocks that leave open where the run is."""

PACKER = """#!/bin/sh
case $1 in
--version) echo "Packer v1.9.0" ;;
build)
    for word; do case $word in manifest=*) file=${word#manifest=} ;; esac; done
    echo '{"last_run_uuid": "1", "builds": [{"packer_run_uuid": "1", "artifact_id": "r:ami-1"}]}' \\
        > "$file" ;;
esac
"""
"""Stands in for Packer, which needs EC2 and ssh: it makes the image ami-1."""

AWS = f"""#!{sys.executable}
import base64, boto3, sys

service, operation, *words = sys.argv[1:]
client = boto3.client(service)
if (service, operation) == ("ecr", "get-login-password"):
    [given] = client.get_authorization_token()["authorizationData"]
    print(base64.b64decode(given["authorizationToken"]).decode().partition(":")[2])
else:
    names = ("".join(map(str.capitalize, word[2:].split("-"))) for word in words[::2])
    print(getattr(client, operation.replace("-", "_"))(**dict(zip(names, words[1::2]))))
"""
"""Stands in for the AWS CLI, which may be absent; boto3 checks the arguments by the same models."""

WAIT_AND_FAIL = """
while [ -e {folder}/hold ]; do sleep 0.1; done
[ -e {folder}/broken ] && case $1 in *FILE) exit 1 ;; esac
"""

COPY = """#!/bin/sh
name=$(basename "$1")
cp "$1" "$name.out"
echo "$name.out"
"""


@pytest.fixture
def newcomer(shell: Shell) -> Iterator[Shell]:
    """A shell in which no run is called demo, as the pages call theirs."""
    yield shell
    clean(shell, "demo")


def clean(shell: Shell, run: str) -> None:
    shell.run("clean", "--local", "--run", run, "--join", "--yes", "--force")


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def project(shell: Shell, command: str, *inputs: str) -> None:
    """Make a project of three small files and one script."""
    program(shell.folder / "env" / "job.sh", command)
    (shell.folder / "inputs").mkdir(parents=True)
    for name in inputs:
        (shell.folder / "inputs" / name).write_text("1\n")
    (shell.folder / "parallelize.toml").write_text(
        '[run]\nname = "first"\ncommand = "./job.sh"\nenv = "env/"\n[workers]\ncount = 1\n'
    )


def without_numbers(lines: list[str]) -> str:
    """Return lines as one, as a narrow terminal breaks them elsewhere, and runs differ in size."""
    return re.sub(r"[\d,]+", "N", " ".join(" ".join(lines).split()))


@runs(
    "first five minutes", "one line", "slow files", "a table", "the dashboard",
    "the dashboard's figures", "nothing is left",
)  # fmt: skip
def test_the_first_five_minutes_of_the_readme_work_as_they_stand(newcomer: Shell) -> None:
    activate = newcomer.folder / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    first, line = named("first five minutes"), named("one line")
    assert "attempt 1 on" in newcomer.type(*first.typed(), *line.typed()).stdout
    folder = newcomer.folder / "demo"
    assert (folder / "out" / "nature" / "sunspots.summary.csv").is_file()
    assert (folder / "out" / "inputs" / "nature" / "sunspots.csv.gz").is_file()

    inside = Shell(folder, newcomer.environ)
    if shutil.which("jq") and shutil.which("curl"):  # tests/install-packages.sh brings jq
        assert json.loads(inside.type(*named("slow files").typed(), **USES_LOCAL).stdout) == []
        open_dashboard(Shell(folder, {**newcomer.environ, **USES_LOCAL, "BROWSER": "true"}))
    counted = inside.type(*named("a table").typed(), **USES_LOCAL).stdout
    assert re.search(r"^done +\d", counted, re.MULTILINE), counted
    last = [line.replace("NAME", "demo") for line in named("nothing is left").typed()]
    end = inside.type(*last, **USES_LOCAL)
    assert "left: no machine, no group, no volume" in end.stderr


def open_dashboard(shell: Shell) -> None:
    """Type how it is opened, and how its figures are read with its own address."""
    [line] = named("the dashboard").typed()
    [figures] = named("the dashboard's figures").typed()
    shown = named("the dashboard").printed()[0]

    def seen(stdout: Iterator[str]) -> bool:
        own = figures.replace(shown, next(stdout).strip())
        return shell.type(own).stdout == "0\n"

    look(shell, shlex.split(line)[1:], seen)


@runs("answers in JSON")
def test_what_programs_are_told_to_type_gives_them_json(newcomer: Shell) -> None:
    printed = newcomer.type(*named("answers in JSON").typed()).stdout
    folder = newcomer.folder / "demo"
    assert json.loads(printed.splitlines()[-1])["result"]["status"] == "succeeded"
    run, failures, log = (
        json.loads((folder / name).read_text())
        for name in ("run.json", "failures.json", "log.json")
    )
    assert (run["state"], run["done"], run["out"]) == ("drained", 17, str(folder / "out"))
    assert failures == []
    assert [(one["attempt"], one["cause"]) for one in log] == [(1, None)]


@pytest.fixture
def changing(shell: Shell) -> Iterator[Shell]:
    """A project whose runs are called as docs/changes.md calls them, and an editor that types."""
    project(shell, COPY, "a.txt", "b.txt", "c.txt")
    program(shell.folder / "bin" / "vi", '#!/bin/sh\necho "22345678" > "$1"\n')
    path = f"{shell.folder / 'bin'}:{shell.environ['PATH']}"
    yield Shell(
        shell.folder, {**shell.environ, "PATH": path, "PARALLELIZE_RUN_REUSE": "true", **USES_LOCAL}
    )
    for run in ("first", "second"):
        clean(shell, run)


@runs("a changed input", "explain", "a second run")
def test_a_change_is_told_and_done_and_a_second_run_copies(changing: Shell) -> None:
    changed, explain, second = map(named, ("a changed input", "explain", "a second run"))
    run, edit, redo = changed.typed()
    changing.type(run)
    refused = changing.type(edit, code=2).stderr.partition("error:")
    assert without_numbers(list(refused[1:])) == without_numbers(changed.printed())
    changing.type(redo)

    copied = changing.type(*second.typed()).stderr
    assert without_numbers(second.printed()) in without_numbers([copied])

    settings = changing.folder / "parallelize.toml"
    settings.write_text(settings.read_text().replace("./job.sh", "./job.sh --fast"))
    program(changing.folder / "env" / "job.sh", f"{COPY}# changed\n")
    (changing.folder / "inputs" / "b.txt").write_text("22")
    told = changing.type(*explain.typed()).stdout
    assert without_numbers(told.splitlines()) == without_numbers(explain.printed())


@pytest.fixture
def alone(shell: Shell) -> Iterator[Shell]:
    """A shell with no local cloud yet; one that it starts has its PATH, with a stand-in in it."""
    program(shell.folder / "bin" / "convert", '#!/bin/sh\n[ "$3" = "50%" ] && cp "$1" "$4"\n')
    path = f"{shell.folder / 'bin'}:{shell.environ['PATH']}"
    own = {"PATH": path, "XDG_STATE_HOME": str(shell.folder / "state")}
    yield Shell(shell.folder, {**shell.environ, **own})
    subprocess.run([PROGRAM, "local", "stop"], env={**shell.environ, **own}, check=False)


@runs("a place for the input")
def test_a_line_has_a_place_for_the_input(alone: Shell) -> None:
    (alone.folder / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (alone.folder / "photos" / name).write_text("picture")
    alone.type(*named("a place for the input").typed())
    assert (alone.folder / "out" / "photos" / "a.png").read_text() == "picture"


@runs("the local cloud")
def test_a_local_cloud_is_started_interrupted_and_stopped(alone: Shell) -> None:
    project(alone, "#!/bin/sh\nexec sleep 120\n", "a.txt", "b.txt")
    start, launch, *rest = named("the local cloud").typed()
    machine, _ = alone.type(start, launch).stdout.split()
    done = alone.type(start, *(line.replace("i-0a1b", machine) for line in rest))
    assert machine in done.stdout


@pytest.fixture
def account(tmp_path: Path, environ: dict[str, str]) -> Iterator[Shell]:
    """A shell of an administrator in an account without a stack, with a project of sixteen files.

    Nothing that is typed in it says that the account is in a local cloud. The command waits while
    the file `hold` is there, and then fails for the input FILE while `broken` is.
    """
    state = tmp_path / "state"
    layer = ("--layer", "tests.strict_aws.server:WithVendors", *STRICT[2:])
    cloud = start(state / "parallelize" / "local", daemon_options=layer)
    connect(cloud)
    # What the stack makes is moto's, and objects are the local cloud's.
    for stack in ("parallelize", "lab"):
        bucket = auto_name(Names(stack=stack), World().account, REGION)
        administrator(cloud, "s3").create_bucket(Bucket=bucket)
    own = cloud.child_environ(environ) | {"AWS_ACCESS_KEY_ID": "administrator"}
    shell = Shell(tmp_path / "project", own | {"XDG_STATE_HOME": str(state)})
    program(shell.folder / "bin" / "packer", PACKER)
    program(shell.folder / "bin" / "aws", AWS)
    command = COPY.replace("\n", WAIT_AND_FAIL.format(folder=shell.folder), 1)
    project(shell, command, "FILE", *(f"{number}.txt" for number in range(15)))
    yield shell
    stop(cloud)


def connect(cloud: LocalCloud) -> None:
    """Give the account's network a way out, as that of a new account has."""
    ec2 = administrator(cloud, "ec2")
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    [vpc] = ec2.describe_vpcs()["Vpcs"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc["VpcId"])
    for table in ec2.describe_route_tables()["RouteTables"]:
        ec2.create_route(
            RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway
        )


@runs("the first hour on AWS")
def test_the_first_hour_on_aws_is_typed_line_by_line(account: Shell) -> None:
    """Who types it looks at how far the workers are, and ends by ctrl-C what goes on for ever."""
    hold, broken = account.folder / "hold", account.folder / "broken"
    before: dict[str, Callable[[], object]] = {
        "failures": lambda: (hold.unlink(), wait_until(lambda: has(account, failed=1))),
        "repro": broken.unlink,
        "download": lambda: wait_until(lambda: has(account, done=16)),
    }
    for line in named("the first hour on AWS").typed():
        words = shlex.split(line, comments=True)[1:]
        before.get(words[0], lambda: None)()
        if words[0] == "status":
            look(account, words, lambda _: has(account, done=10))
            hold.touch()
            broken.touch()
        elif words[0] == "dashboard":
            look(account, words, lambda stdout: next(stdout).startswith("http"))
        else:
            account.type(line, answers="y\n")
    assert (account.folder / "out" / "FILE.out").is_file()


def has(shell: Shell, **counts: int) -> bool:
    """Return whether the run's status has these counts."""
    return bool(counts.items() <= shell.json("status").items())


def look(shell: Shell, words: list[str], seen: Callable[[Iterator[str]], bool]) -> None:
    """Type a line that goes on until ctrl-C, and end it so when something has been seen."""
    process = shell.start(*words)
    stdout = iter(process.stdout or [])
    wait_until(lambda: seen(stdout))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr


@runs("set up an account", "a second stack", "objects elsewhere", "a key", "image repositories")
def test_an_account_is_set_up_as_the_pages_say(account: Shell) -> None:
    path = {"PATH": f"{account.folder / 'bin'}:{account.environ['PATH']}"}
    doctor, *rest = named("set up an account").typed()
    assert "stack        does not exist" in account.type(doctor, code=2, **path).stderr
    assert "ami-1" in account.type(*rest, answers="y\n", **path).stdout
    account.type(*named("a second stack").typed(), answers="y\n")
    for name in ("objects elsewhere", "a key", "image repositories"):
        account.type(*named(name).typed(), answers="y\n")


@runs("images")
def test_images_are_built_listed_and_deleted_as_the_page_says(account: Shell) -> None:
    path = {"PATH": f"{account.folder / 'bin'}:{account.environ['PATH']}"}
    *lines, prune = named("images").typed()
    assert account.type(*lines, **path).stdout.count("ami-1\n") == 4
    assert "no image to delete" in account.type(prune, code=3).stderr


@pytest.fixture
def prepared(account: Shell) -> Shell:
    """The account with its stack and the vendors' images; stand-ins come first in PATH.

    A bundle needs no libraries here: no machine unpacks it.
    """
    for python in {system.python for system in SYSTEMS.values()}:
        for architecture in PLATFORMS:
            cache = account.folder / "cache" / "parallelize"
            wheel_folder(python, architecture, cache).mkdir(parents=True, exist_ok=True)
    path = f"{account.folder / 'bin'}:{account.environ['PATH']}"
    own = {"PATH": path, "XDG_CACHE_HOME": str(account.folder / "cache")}
    shell = Shell(account.folder, account.environ | own)
    shell.type("parallelize setup", answers="y\n")
    return shell


@runs("a rehearsal")
def test_a_rehearsal_is_typed_in_an_account_with_a_stack(prepared: Shell) -> None:
    for line in named("a rehearsal").typed():
        shown = prepared.type(line, answers="y\n").stdout
        assert "good  left" in shown, shown


@runs("a registry's login")
def test_a_registrys_login_is_kept_and_the_workers_may_read_it(prepared: Shell) -> None:
    keep, allow = named("a registry's login").typed()
    assert "secret:hub-" in prepared.type(keep).stdout
    prepared.type(allow, answers="y\n")


@needs_registry
@runs("a login at ECR")
def test_the_token_that_ecr_hands_out_is_a_login_for_skopeo(prepared: Shell) -> None:
    [line] = named("a login at ECR").typed()
    logins = prepared.folder / "auth.json"
    certificate = make_certificate(prepared.folder, "IP:127.0.0.1")
    own = {"SSL_CERT_FILE": str(certificate.file), "REGISTRY_AUTH_FILE": str(logins)}
    place, wanted = prepared.folder / "registry", {"passwords": HASHED_TOKEN}
    with serve_registry(place, certificate=certificate, **wanted) as registry:
        prepared.type(line.replace("HOST", registry.host), **own)
        assert registry.host in logins.read_text()


ROW = re.compile(r"^\(dry run\) {1,3}(\w+)", re.MULTILINE)
"""The first word of a row of a plan; a line that is indented more continues the row above."""


@runs("a plan of a thousand")
def test_the_plan_of_a_launch_has_the_rows_of_the_page(prepared: Shell) -> None:
    """Except for the cost of addresses and disks, which moto does not know."""
    for number in range(1000):
        (prepared.folder / "inputs" / f"more-{number}").touch()
    prepared.type("parallelize prep && parallelize enqueue", answers="y\n")
    block = named("a plan of a thousand")
    shown = prepared.type(*block.typed()).stderr.splitlines()
    ours, pages = (ROW.findall("\n".join(lines)) for lines in (shown, block.printed()))
    assert ours == [row for row in pages if row != "plus"]
    assert shown[-1] == block.printed()[-1]


@runs("a fleet with GPUs")
def test_a_fleet_with_gpus_is_made_as_the_page_says(prepared: Shell) -> None:
    shown = prepared.type(*named("a fleet with GPUs").typed(), answers="y\n")
    assert re.search(r"\b16 done\b", shown.stdout), shown.stdout[-600:]


@runs("a stock image", "the first machine from a stock image")
def test_a_plain_image_is_launched_as_the_page_says(prepared: Shell) -> None:
    """No machine boots it here: `tests/image/test_stock.py` does that."""
    prepare, launch, watch = named("the first machine from a stock image").typed()
    prepared.type(prepare)
    assert prepared.type(launch, answers="y\n").stdout
    look(prepared, shlex.split(watch, comments=True)[1:], lambda _: has(prepared, total=16))
    prepared.type("parallelize enqueue", *named("a stock image").typed(), answers="y\n")
