"""Jobs in a container, on a worker in this process, with an image from a registry on loopback."""

from __future__ import annotations

import gzip
import os
from glob import glob
from pathlib import Path

import pytest
from tests.functional.agent.bench import SWIFT, Bench, until
from tests.functional.agent.live import Background, at_work
from tests.functional.container.conftest import MakeBench
from tests.functional.container.images import (
    Made,
    Registry,
    entry,
    folder,
    layer,
    link,
    make_image,
    needs_registry,
    needs_zstd,
    programs,
    serve_registry,
    shell_image,
    zstd,
)

from parallelize_core.errors import SetupError, UnavailableError
from parallelize_core.job import JobMessage
from parallelize_core.result import Cause
from parallelize_core.run import Limits, Serve, Setup

pytestmark = needs_registry


def left(bench: Bench) -> list[tuple[int, tuple[str, ...]]]:
    """Return of each message that is left its attempt and its setbacks."""
    waiting = [JobMessage.decode(one.body) for one in bench.queue.receive(10, 0, 10)]
    return [(message.attempt, message.setbacks) for message in waiting]


def log(bench: Bench, key: str = "x") -> str:
    return bench.result(key).log


def test_the_command_runs_in_the_image_and_finds_its_own_where_they_always_are(
    make: MakeBench,
) -> None:
    bench = make('cat data.txt "$1" >"$PARALLELIZE_SCRATCH/o"; pwd; ls /bin; echo o')
    bench.run()
    assert bench.output("o") == b"data\ninput"
    here, *programs, _ = log(bench).split()
    assert here.endswith("/scratch")
    assert set(programs) >= {"sh", "cat"}
    assert "skopeo" not in programs


def test_the_result_has_the_digest_of_the_image(make: MakeBench, shell: Made) -> None:
    bench = make("echo done")
    bench.run()
    result = bench.result("x")
    assert result.image == shell.digest
    assert result.environment == f"{bench.environment.identity}+{shell.digest}"


@needs_zstd
def test_an_image_whose_layers_are_compressed_with_zstd_serves_as_well(
    make: MakeBench, tmp_path: Path
) -> None:
    layers = [zstd(layer(*programs("sh"), compressed=False)), layer(entry("over", b"gzip"))]
    bench = make("[ -e /over ]", made=make_image(tmp_path / "image", layers))
    bench.run()
    assert bench.result("x").status == "succeeded", log(bench)


def test_the_variables_of_the_image_count_and_those_of_the_job_come_first(
    make: MakeBench, tmp_path: Path
) -> None:
    odd = [
        "COLOUR=red",
        "HOME=/root",
        "PARALLELIZE_SCRATCH=/etc",
        "nonsense",
        "=x",
        "A B=c",
        "C=\0",
    ]
    made = shell_image(tmp_path / "image", env=odd)
    bench = make('echo "$COLOUR $PATH"; echo "$HOME"; env', made)
    bench.run()
    colour, home, *rest = log(bench).splitlines()
    assert colour == "red /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert home.endswith("/.parallelize")
    names = {line.partition("=")[0] for line in rest}
    assert not names & {"", "A B", "nonsense"}


def test_a_library_that_the_image_wants_loaded_is_loaded_by_nothing_of_the_machine(
    make: MakeBench, tmp_path: Path
) -> None:
    """Its variables would else be those of programs that run with the agent's rights."""
    mark = tmp_path / "loaded"
    evil = entry("evil.so", b"\x7fELF")
    made = shell_image(
        tmp_path / "image", evil, env=["LD_PRELOAD=/evil.so", f"BASH_ENV={mark}", "PYTHONPATH=/"]
    )
    bench = make("echo done", made)
    bench.run()
    # The loader complains within the image, once for each of its programs, and goes on.
    assert "/evil.so" in log(bench)
    assert not mark.exists()


def test_nothing_of_the_image_can_be_written_to(make: MakeBench) -> None:
    bench = make("for f in /x /bin/sh /bin/x /etc/hosts; do (echo >$f) 2>&1; done; touch o; echo o")
    bench.run()
    assert log(bench).count("Read-only file system") == 4
    assert bench.outputs() == {"o"}


def test_temporary_folders_are_the_jobs_own(make: MakeBench) -> None:
    bench = make(
        "ls /tmp /var/tmp /dev/shm /run; for d in /tmp /dev/shm /run; do touch $d/$$; done"
    )
    bench.add({"y": b""})
    bench.run()
    assert not [line for key in "xy" for line in log(bench, key).split() if line.isdigit()]


def test_an_output_in_tmp_is_found_where_the_job_has_it(make: MakeBench) -> None:
    bench = make("echo x >/tmp/o; echo /tmp/o")
    bench.run()
    assert bench.output("o") == b"x\n"


def test_the_machine_is_out_of_sight(make: MakeBench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the machine")
    bench = make(
        f"ls {tmp_path} {tmp_path}/secret /home /root /opt 2>&1; ls /; ls /dev; cat /proc/1/environ"
    )
    bench.run()
    said = log(bench)
    assert "secret: No such file" in said.replace("'", "")
    assert "of the machine" not in said
    assert "/proc/1/environ" in said  # refused to all
    assert not {"vda", "sda", "mem", "kmsg"} & set(said.split())


def test_no_way_out_is_left_to_it(make: MakeBench) -> None:
    """No capability, no new one by a set-user-ID program, and nothing of the old root."""
    bench = make("cat /proc/self/status; cat /proc/self/mountinfo | cat")
    bench.run()
    fields = dict(line.split(":\t", 1) for line in log(bench).splitlines() if ":\t" in line)
    assert {fields[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    mounts = [line.split()[4] for line in log(bench).splitlines() if " - " in line]
    assert mounts.count("/") == 1
    assert not [place for place in mounts if place.startswith(("/home", "/usr", "/boot"))]


def test_it_has_no_network_but_itself(make: MakeBench) -> None:
    bench = make("cat /proc/net/dev; cat /sys/devices/virtual/net/lo/operstate 2>/dev/null; :")
    bench.run()
    devices = [line.partition(":")[0].strip() for line in log(bench).splitlines() if ":" in line]
    assert devices == ["lo"]


def test_with_run_network_it_has_that_of_the_machine(make: MakeBench) -> None:
    bench = make("cat /proc/net/dev /etc/hosts", network=True)
    bench.run()
    there = Path("/proc/net/dev").read_text().count(":")
    assert log(bench).count(":") >= there
    assert Path("/etc/hosts").read_text() in log(bench)


def test_exit_codes_and_signals_are_the_commands_own(make: MakeBench) -> None:
    once = Limits(max_attempts=1, grace_seconds=0.2)
    bench = make("kill -9 $$", limits=once)
    bench.run()
    assert bench.result("x").exit_code == -9
    assert bench.result("x").message == "signal 9"


def test_a_command_that_is_told_to_end_can_do_so_in_its_own_way(make: MakeBench) -> None:
    bench = make(
        "trap 'echo bye; exit 3' TERM; while :; do sleep 0.05; done",
        limits=Limits(timeout_seconds=0.5, max_attempts=1, grace_seconds=5),
    )
    bench.run()
    assert bench.result("x").cause is Cause.TIMEOUT
    assert "bye" in log(bench)


def test_what_a_command_leaves_running_is_ended_with_it(make: MakeBench) -> None:
    bench = make("sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >pid; touch o; echo o")
    bench.run()
    assert bench.outputs() == {"o"}
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline")
            if _content(path).startswith(b"sleep\x001000\x00")]  # fmt: skip
    assert left == []


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_program_that_the_image_lacks_is_named(make: MakeBench) -> None:
    bench = make("exec nothing-like-this", limits=Limits(max_attempts=1, grace_seconds=0.2))
    bench.run()
    assert "nothing-like-this: not found" in log(bench)
    assert bench.result("x").cause is Cause.COMMAND


def test_several_jobs_of_several_slots_pull_it_once(
    make: MakeBench, registry: Registry, tmp_path: Path
) -> None:
    made = shell_image(tmp_path / "image", entry("big", os.urandom(1_000_000)))
    bench = make("cat /big | cat >/dev/null", made, config=SWIFT.model_copy(update={"slots": 8}))
    bench.add({f"in/{number}": b"x" for number in range(24)})
    before = len(registry.lines('"GET /v2'))
    bench.run()
    assert all(bench.has_result(f"in/{number}") for number in range(24))
    blobs = [one["digest"] for one in (*made.manifest["layers"], made.manifest["config"])]
    fetched = registry.lines('"GET /v2')[before:]
    assert [sum(f"/blobs/{blob}" in line for line in fetched) for blob in blobs] == [1] * len(blobs)


def test_a_set_up_runs_in_the_image_and_jobs_see_what_it_made(make: MakeBench) -> None:
    hook = "#!/bin/sh -e\necho $COLOUR >made; ls / >seen\n"
    bench = make("cat made seen", files={"setup.sh": hook}, setup=Setup(command=("./setup.sh",)))
    bench.run()
    assert log(bench).startswith("blue\n")
    assert "home" not in log(bench).split()


def test_a_warm_command_serves_many_jobs_in_one_container(make: MakeBench) -> None:
    loop = """
echo '{"ready": true}'
number=0
while read -r line; do
    number=$((number + 1))
    job=${line#*\\"job\\": }; job=${job%%,*}
    scratch=${line#*\\"scratch\\": \\"}; scratch=${scratch%%\\"*}
    input=${line#*\\"input\\": \\"}; input=${input%%\\"*}
    { echo $number $COLOUR; cat "$input"; } >"$scratch/$number.txt"
    echo "$number.txt"
    echo "{\\"job\\": $job, \\"done\\": true}"
done
"""
    config = SWIFT.model_copy(update={"slots": 1})
    bench = make(loop, serve=Serve(), config=config)
    bench.add({"y": b"second"})
    bench.run()
    assert bench.outputs() == {"1.txt", "2.txt"}
    assert {bench.output(name) for name in ("1.txt", "2.txt")} <= {
        b"1 blue\ninput", b"2 blue\nsecond", b"1 blue\nsecond", b"2 blue\ninput",
    }  # fmt: skip


RESUME = """
cd "$PARALLELIZE_CHECKPOINT"
old=$(cat state 2>/dev/null || echo 0)
[ $old = 2 ] || { echo $((old + 1)) >next; cp next state; exit 76; }
cd "$PARALLELIZE_SCRATCH"; echo "$COLOUR after $old" >o; echo o
"""


def test_a_job_goes_on_from_what_it_has_left_in_its_container(make: MakeBench) -> None:
    bench = make(RESUME)
    bench.run()
    assert bench.output("o") == b"blue after 2\n"
    assert bench.result("x").attempt == 1
    assert [record.cause for record in bench.attempts("x")] == [Cause.INTERRUPTED] * 2


def test_what_a_container_leaves_at_a_notice_goes_to_the_next_worker(make: MakeBench) -> None:
    bench = make(
        "trap 'echo 7 >$PARALLELIZE_CHECKPOINT/state; exit 1' TERM; "
        '[ -e "$PARALLELIZE_CHECKPOINT/state" ] || while :; do touch begun; sleep 0.05; done; '
        'cp "$PARALLELIZE_CHECKPOINT/state" o; echo o'
    )
    with at_work(bench.worker("w1")) as (worker,):
        until(lambda: glob(f"{bench.folder}/w1/jobs/*/*/scratch/begun"))  # noqa: PTH207 - folders vanish
        worker.leave(0, "spot notice")
    assert [message[0] for message in left(bench)] == [1]
    bench.clock.ahead += 60
    bench.run("w2")
    assert bench.output("o") == b"7\n"


@pytest.mark.parametrize(
    "entries",
    [
        [link("proc", "/etc"), link("dev", "/etc"), link("tmp", "/")],
        [link("var", "/home"), link("sys", "/proc/1/root"), folder("run", 0o777)],
        [entry("etc/resolv.conf", b"nameserver 192.0.2.1"), link("etc/hosts", "/dev/x")],
    ],
    ids=["over what is mounted", "into other places", "files of the network"],
)  # fmt: skip
def test_an_image_of_links_is_entered_like_any_other(
    make: MakeBench, tmp_path: Path, entries: list
) -> None:  # type: ignore[type-arg]
    bench = make(
        "cat /proc/self/comm; touch o; echo o",
        shell_image(tmp_path / "image", *entries),
        network=True,
    )
    bench.run()
    assert bench.outputs() == {"o"}
    assert log(bench).startswith("cat\n")


# What cannot be had.


def test_an_image_that_does_not_exist_ends_the_worker_with_the_registrys_words(
    make: MakeBench,
) -> None:
    bench = make("echo done")
    assert bench.image
    bench.image = bench.image.model_copy(update={"digest": f"sha256:{'0' * 64}"})
    bench.write_run()
    ended = bench.run()
    assert isinstance(ended.error, SetupError)
    assert "manifest unknown" in ended.reason
    assert not bench.has_result("x")
    assert bench.attempts("x") == []
    assert left(bench) == [(1, ())]


def test_a_registry_that_is_away_costs_no_file_anything(make: MakeBench) -> None:
    """The worker takes no job before it can do one, and gives up in the end."""
    bench = make("echo done", config=SWIFT.model_copy(update={"max_outage_seconds": 0.1}))
    assert bench.image
    bench.image = bench.image.model_copy(update={"repository": "127.0.0.1:1/away"})
    bench.write_run()
    ended = bench.run()
    assert isinstance(ended.error, UnavailableError)
    assert "connection refused" in ended.reason
    assert not bench.has_result("x")
    assert left(bench) == [(1, ())]


def test_a_registry_that_comes_back_is_waited_for(
    make: MakeBench, shell: Made, tmp_path: Path
) -> None:
    bench = make("echo done", config=SWIFT.model_copy(update={"max_outage_seconds": 40}))
    assert bench.image
    with serve_registry(tmp_path / "other") as other:
        bench.image = other.image(shell, "late")
    bench.write_run()
    tried = bench.folder / "w1" / "images" / bench.image.short
    worker = Background(bench.worker())
    worker.start()
    until(tried.exists)
    until(lambda: not tried.exists())
    with serve_registry(tmp_path / "other", at=other.host):
        worker.join()
    assert bench.has_result("x")


def test_an_image_that_cannot_be_unpacked_ends_the_worker_and_charges_no_file(
    make: MakeBench, tmp_path: Path
) -> None:
    odd = make_image(tmp_path / "image", [gzip.compress(b"this is no archive")])
    bench = make("echo done", odd)
    ended = bench.run()
    assert isinstance(ended.error, SetupError)
    assert "unpacking the image" in ended.reason
    assert not bench.has_result("x")
    assert any("error: " in text for text in bench.setups.values())
