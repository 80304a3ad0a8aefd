"""What a job is held to: memory, disk, processors, files, processes, nice; and what its end says (docs/howto/limits.md)."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from pathlib import Path

import pytest

from cit_run import cores, guards, limits, record
from cit_run.cit_format.errors import CitError
from cit_run.group import Group
from cit_run.shim import Ending
from tests.conftest import CHECKOUT
from tests.int.cit_run.kit import Bench, is_alive, until

TAKES = "import sys, time; x = bytearray(int(sys.argv[1]) << 20); print('has it', flush=True); time.sleep(60)"


def python(code: str, *arguments: str) -> str:
    return f'python3 -c "{code}" {" ".join(arguments)}'


# --- memory -----------------------------------------------------------------------------------------------------------


def test_memory(bench: Bench) -> None:
    """A job that takes more is OUT_OF_MEMORY and says how much it took; one that keeps to it has its own end, and so has one that fails by itself."""
    greedy = bench.send(f"#!/bin/sh\ntrap '' TERM\n{python(TAKES, '300')}\n", mem="100M", name="greedy")
    modest = bench.send(f"#!/bin/sh\n{python('x = bytearray(50 << 20)')}\n", mem="100M", name="modest")
    fails = bench.send("#!/bin/sh\nexit 3\n", mem="100M", name="fails")
    bench.run("--slots", "3")
    result = bench.result(greedy)
    assert (result["state"], result["signal"]) == ("OUT_OF_MEMORY", 9)
    assert re.fullmatch(r"its processes took [1-3]\d\dM of memory, it asked for 100M", str(result["why"])), result["why"]
    assert bench.result(modest)["state"] == "COMPLETED" and "why" not in bench.result(modest)
    assert (bench.result(fails)["state"], bench.result(fails)["exit"]) == ("FAILED", 3)


def test_memory_of_all_its_processes(bench: Bench, tmp_path: Path) -> None:
    """They count together, wherever they have gone; none of them is left."""
    each = f"setsid {python(TAKES, '60')} & echo $! >>{tmp_path}/pids"
    job = bench.send(f"#!/bin/sh\n{each}\n{each}\n{each}\nsleep 60\n", mem="120M")
    bench.run()
    assert bench.result(job)["state"] == "OUT_OF_MEMORY"
    assert [pid for pid in (tmp_path / "pids").read_text().split() if is_alive(int(pid))] == []


def test_memory_that_is_shared_counts_once(bench: Bench) -> None:
    """Four processes look at the same 80M: that is no 320M."""
    code = "import os, time; x = bytearray(80 << 20); [os.fork() for _ in range(2)]; time.sleep(1.5)"
    job = bench.send(f"#!/bin/sh\n{python(code)}\nsleep 0.2\n", mem="200M")
    bench.run()
    assert bench.result(job)["state"] == "COMPLETED", bench.result(job)


def test_kernel_ends_a_job_with_a_limit_first(bench: Bench) -> None:
    """Where the machine has no memory left; the shim itself is not such a job, nor is one that says no limit."""
    shim = "$(sed -n 's/.*shim //p' .cit/status | cut -f 1)"
    asked = bench.send(f"#!/bin/sh\ncat /proc/self/oom_score_adj /proc/{shim}/oom_score_adj\n", mem="1G")
    bench.run()
    ours = Path("/proc/self/oom_score_adj").read_text()
    assert bench.log(asked) == f"500\n{ours}"


# --- disk -------------------------------------------------------------------------------------------------------------


def test_disk(bench: Bench) -> None:
    """Many files that are too much together end a job; a few do not. One file beyond the limit is not written to its end."""
    many = "for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=f$i bs=1M count=8 status=none; done"
    greedy = bench.send(f"#!/bin/sh\n{many}\nsleep 60\n", tmp="20M", name="greedy")
    modest = bench.send(f"#!/bin/sh\n{many}\nsleep 1.5\n", tmp="100M", name="modest")
    bench.set(on_end="", log_limit="1M")
    one = bench.send("#!/bin/sh\nexec dd if=/dev/zero of=big bs=1M count=60 status=none\n", tmp="20M", name="one")
    bench.run("--slots", "3")
    result = bench.result(greedy)
    assert result["state"] == "FAILED"
    assert re.fullmatch(r"its workspace took 6\dM of disk, it asked for 20M", str(result["why"])), result["why"]
    assert bench.result(modest)["state"] == "COMPLETED"
    result = bench.result(one)
    assert (result["state"], result["signal"], result["why"]) == ("FAILED", 25, "it wrote a file beyond its limit (tmp 20M)")


# --- processors, nice, files, processes -------------------------------------------------------------------------------


def test_processors(bench: Bench, tmp_path: Path) -> None:
    """Two jobs that say how many they want do not share any; the one after them may use all again."""
    there = sorted(os.sched_getaffinity(0))
    if len(there) < 2:
        pytest.skip("one processor")
    shows = "import os; print(*sorted(os.sched_getaffinity(0)))"
    script = f"#!/bin/sh\n{python(shows)}\ntouch {tmp_path}/$CIT_JOB_NAME\nuntil [ -e {tmp_path}/a -a -e {tmp_path}/b ]; do sleep 0.02; done\n"
    jobs = [bench.send(script, cpus=1, name=name) for name in ("a", "b")]
    bench.run("--slots", "2")
    assert {bench.log(job) for job in jobs} == {f"{core}\n" for core in there[:2]}
    later = bench.send(f"#!/bin/sh\n{python(shows)}\nnproc\n")
    bench.run()
    assert bench.log(later) == f"{' '.join(map(str, there))}\n{len(there)}\n"


CORES = {
    "no number, nobody there": (0, [0, 1, 2, 3], [], []),
    "no number, beside one that has some": (0, [0, 1, 2, 3], [[0, 1]], [2, 3]),
    "no number, none free": (0, [0, 1], [[0], [1]], []),
    "the first ones": (2, [0, 1, 2, 3], [], [0, 1]),
    "not those that are taken": (2, [0, 1, 2, 3], [[0, 2]], [1, 3]),
    "shared, where none is free": (1, [0, 1], [[0], [1], [0]], [1]),
    "all": (4, [0, 1, 2, 3], [[1]], []),
    "more than there are": (9, [0, 1], [], []),
    "one that is not there any more": (1, [1, 2], [[0], [1]], [2]),
    "beside jobs that may use all": (1, [0, 1], [[], []], [0]),
}


@pytest.mark.parametrize("what", CORES)
def test_which_processors(what: str) -> None:
    wanted, there, taken, expected = CORES[what]
    assert cores.chosen(wanted, there, taken) == expected  # type: ignore[arg-type]


def test_files_processes_and_nice(bench: Bench) -> None:
    """What the kernel holds a job to, from config.toml and from the job; the shim steps back no further than its job."""
    bench.set(on_end="", open_files=123, processes=4567)
    shows = "import os, resource as r; print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_NPROC), os.nice(0))"
    job = bench.send(f"#!/bin/sh\n{python(shows)}\n", nice=7)
    plain = bench.send(f"#!/bin/sh\n{python(shows)}\n", name="plain")
    bench.run()
    most = [limit if hard == resource.RLIM_INFINITY else min(limit, hard) for limit, hard in ((123, _hard("NOFILE")), (4567, _hard("NPROC")))]
    ours = os.nice(0)
    assert bench.log(job) == f"({most[0]}, {most[0]}) ({most[1]}, {most[1]}) {min(19, ours + 7)}\n"
    assert bench.log(plain).endswith(f" {ours}\n")


def _hard(name: str) -> int:
    return resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]


@pytest.mark.parametrize("said", [{"nice": -5}, {"nice": 20}, {"mem": "much"}, {"tmp": "12"}])
def test_limit_that_is_none(bench: Bench, said: dict[str, object]) -> None:
    """It is refused before anything of it begins."""
    job = bench.send("#!/bin/sh\n", **said)
    assert next(iter(said)) in bench.run(status=65)
    assert bench.names("refused") and not bench.record(job).exists()


@pytest.mark.parametrize("setting", [{"open-files": 0}, {"processes": "many"}, {"log-limit": "12"}, {"cgroup": "mine"}])
def test_setting_that_is_none(setting: dict[str, object]) -> None:
    with pytest.raises(CitError) as caught:
        limits.rlimits(setting), limits.log_limit(setting), limits.group_of(setting)  # type: ignore[arg-type]
    assert caught.value.status == 78 and next(iter(setting)) in caught.value.what


def test_the_filter_holds_a_job_to_the_same(bench: Bench) -> None:
    """A local build and one on a builder are the same thing."""
    job = bench.job(f"#!/bin/sh\nnice\n{python(TAKES, '300')}\n", mem="100M", nice=3)
    ended = bench.filtered(job)
    assert ended.returncode == 137 and b'state = "OUT_OF_MEMORY"' in ended.stdout, ended.stderr
    assert next((bench.account / "work").glob("*.log")).read_text().startswith(f"{os.nice(0) + 3}\n")


def test_cit_try_holds_a_job_to_the_same(bench: Bench) -> None:
    job = bench.job(f"#!/bin/sh\nnice\nulimit -n\n{python(TAKES, '300')}\n", mem="100M", nice=3)
    bench.set(on_end="", open_files=99)
    (bench.home / "job.cit").write_bytes(job.raw)
    ended = subprocess.run([CHECKOUT / "bin" / "cit-try", bench.home / "job.cit"], capture_output=True, timeout=60)
    assert ended.returncode == 137 and ended.stdout.startswith(b"%d\n99\n" % (os.nice(0) + 3)), ended


# --- what costs how much ----------------------------------------------------------------------------------------------


def test_looking_costs_a_bounded_part() -> None:
    """A look that takes long is taken seldom; memory that is nearly full is looked at often."""
    assert guards.pause(10 << 30, 0.0001) == 1.0
    assert guards.pause(0, 0.0001) == guards.pause(-5, 0.0001) == 0.1
    assert guards.pause(1 << 29, 0.0001) == 0.5
    assert guards.pause(0, 1.0) == 20.0
    assert guards.is_worth(100, 100, 5.0, 0.1) and not guards.is_worth(99, 100, 5.0, 0.1)
    assert guards.is_worth(0, 100, 60.0, 0.1) and not guards.is_worth(1000, 100, 60.0, 4.0)


WHY = {
    "nothing": ({}, Ending(0, 0, "", 0, 0, {}), ""),
    "by the watch": ({"mem": "1G"}, Ending(0, 9, "memory", 0, 0, {"over": 3 << 29}), "its processes took 1.5G of memory, it asked for 1G"),
    "by the kernel": ({"mem": "1G"}, Ending(0, 9, "memory", 0, 0, {}), "the kernel ended it: it wanted more than the 1G of memory that it asked for"),
    "disk": ({"tmp": "1G"}, Ending(0, 15, "tmp", 0, 0, {"over": 2 << 30}), "its workspace took 2.0G of disk, it asked for 1G"),
    "a file": ({"tmp": "1G"}, Ending(0, 25, "", 0, 0, {}), "it wrote a file beyond its limit (tmp 1G)"),
    "killed": ({}, Ending(0, 9, "", 0, 0, {}), "killed, and not by cit: the kernel does that where a machine runs out of memory"),
    "cancelled": ({}, Ending(0, 9, "cancel", 0, 0, {}), ""),
    "cut": ({}, Ending(0, 0, "", 0, 0, {"cut": 5 << 20}), "5.0M of its output are cut out of the log (log-limit)"),
}


@pytest.mark.parametrize("what", WHY)
def test_what_the_end_says(what: str) -> None:
    said, ending, expected = WHY[what]
    assert limits.why(said, ending) == expected  # type: ignore[arg-type]


def test_states_of_limits() -> None:
    memory, disk = Ending(0, 0, "memory", 0, 0, {}), Ending(0, 0, "tmp", 0, 0, {})
    assert (record.state(memory), record.status(memory)) == ("OUT_OF_MEMORY", 137)
    assert (record.state(disk), record.status(disk)) == ("FAILED", 143), "it is no success, whatever it exits with"


# --- cgroups ----------------------------------------------------------------------------------------------------------


def tree(place: Path, *files: str) -> Path:
    """A cgroup as the kernel would offer it, of plain files."""
    place.mkdir(parents=True, exist_ok=True)
    for name in files:
        (place / name).write_text("")
    return place


def test_a_cgroup_gets_what_it_offers(tmp_path: Path) -> None:
    """All limits where the tree has them; what it has not is left to the shim."""
    full = tree(tmp_path / "full", "memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cgroup.procs", "cgroup.kill")
    made = Group(str(full), str(tree(tmp_path / "home", "cgroup.procs")))
    assert made.make(1 << 30, 500) and made.holds_memory and made.enter()
    said = {path.name: path.read_text() for path in full.iterdir()}
    assert said == {
        "memory.max": "1073741824\n",
        "memory.swap.max": "0\n",
        "memory.oom.group": "1\n",
        "pids.max": "500\n",
        "cgroup.procs": "0\n",
        "cgroup.kill": "",
    }
    made.leave()
    made.kill()
    assert (tmp_path / "home" / "cgroup.procs").read_text() == "0\n" and (full / "cgroup.kill").read_text() == "1\n"
    bare = Group(str(tmp_path / "bare"), "")
    assert bare.make(1 << 30, 500) and not bare.holds_memory and not list((tmp_path / "bare").iterdir())
    assert bare.remove() and bare.remove() and not (tmp_path / "bare").exists()
    assert not Group(str(tmp_path / "no" / "such"), "").make(1, 1)


EVENTS = {"low 0\nhigh 0\nmax 12\noom 3\noom_kill 0\n": False, "oom 1\noom_kill 2\noom_group_kill 1\n": True, "": False, "oom_kill\n": False}


def test_who_was_ended_for_want_of_memory(tmp_path: Path) -> None:
    for said, expected in EVENTS.items():
        (tmp_path / "memory.events").write_text(said)
        assert Group(str(tmp_path), "").was_short() == expected, said
    assert not Group(str(tmp_path / "gone"), "").was_short()


MOUNTS = "25 1 0:22 / /sys rw - sysfs sysfs rw\n30 25 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
PLACES = {
    "a scope of a user": ("12:cpu:/x\n0::/user.slice/user-7.slice/run-1.scope\n", "/", "/sys/fs/cgroup/user.slice/user-7.slice/run-1.scope"),
    "the root": ("0::/\n", "/", "/sys/fs/cgroup"),
    "inside of a mount that is a part": ("0::/a/b\n", "/a", "/sys/fs/cgroup/b"),
    "outside of it": ("0::/c\n", "/a", ""),
    "version 1 only": ("12:cpu:/x\n", "/", ""),
}


@pytest.mark.parametrize("what", PLACES)
def test_own_cgroup(tmp_path: Path, what: str) -> None:
    said, root, expected = PLACES[what]
    (tmp_path / "cgroup").write_text(said)
    (tmp_path / "mountinfo").write_text(MOUNTS.format(root=root))
    assert limits.own_group(str(tmp_path)) == expected


def test_an_account_makes_its_cgroup_ready(tmp_path: Path) -> None:
    """Processes move into a child, and the children get memory and pids, if the kernel has them; not given to us: without."""
    top = tree(tmp_path / "top", "cgroup.subtree_control")
    (top / "cgroup.controllers").write_text("cpuset memory hugetlb\n")
    tree(top / limits.LEAF, "cgroup.procs")
    ready = limits.group_of({"cgroup": str(top)})
    assert ready == (str(top), f"{top}/{limits.LEAF}")
    assert (top / limits.LEAF / "cgroup.procs").read_text() == "0\n" and (top / "cgroup.subtree_control").read_text() == "+memory"
    assert limits.group_of({"cgroup": "none"}) is None
    with pytest.raises(CitError) as caught:
        limits.group_of({"cgroup": str(tmp_path / "top" / "cgroup.controllers" / "x")})
    assert caught.value.status == 78


@pytest.fixture
def real_group() -> str:
    """A directory of the machine's own cgroup v2 tree."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line]
    if os.getuid() or not mounts or not Path(mounts[0], "cgroup.procs").exists():
        pytest.skip("no cgroup v2 tree that is ours")
    return f"{mounts[0]}/cit-test-{os.getpid()}"


def removed(group: str) -> None:
    """Leave nothing in the machine's tree."""
    leaf = Path(group, limits.LEAF)
    until(lambda: not leaf.exists() or not leaf.joinpath("cgroup.procs").read_text(), "the end of all shims")
    for path in (*Path(group).glob("*/"), Path(group)):
        os.rmdir(path)


def test_a_job_in_a_real_cgroup(bench: Bench, tmp_path: Path, real_group: str) -> None:
    """The job is in its own one, its shim is not; at the end it is killed and gone, and the account's one is empty."""
    before = Path("/proc/self/cgroup").read_text()
    bench.set(on_end="", cgroup=real_group)
    shim = "$(sed -n 's/.*shim //p' .cit/status | cut -f 1)"
    job = bench.send(f"#!/bin/sh\ngrep ^0: /proc/self/cgroup\ngrep ^0: /proc/{shim}/cgroup\nsetsid sleep 300 &\necho $! >{tmp_path}/pid\nsleep 0.3\n")
    try:
        bench.run()
        own, shim = bench.log(job).splitlines()
        assert re.search(rf"/{os.path.basename(real_group)}/cit-[0-9a-f]{{8}}-{job.id}\.a1-job$", own) and shim.endswith(limits.LEAF)
        assert not is_alive(int((tmp_path / "pid").read_text()))
        assert [path.name for path in Path(real_group).iterdir() if path.is_dir()] == [limits.LEAF]
    finally:
        removed(real_group)
    assert Path("/proc/self/cgroup").read_text() == before


def test_a_group_whose_shim_is_dead(bench: Bench, tmp_path: Path, real_group: str) -> None:
    """What neither descends from the job any more nor carries its variables is found by its group, and ended."""
    bench.set(on_end="", cgroup=real_group)
    hides = f"env -i setsid sh -c '(setsid sleep 300 & echo $! >{tmp_path}/pid)'"
    job = bench.send(f"#!/bin/sh\n{hides}\nkill -KILL $(sed -n 's/.*shim //p' .cit/status | cut -f 1)\nsleep 300\n")
    try:
        bench.run()
        assert bench.result(job)["state"] == "NODE_FAIL"
        assert not is_alive(int((tmp_path / "pid").read_text()))
        assert [path.name for path in Path(real_group).iterdir() if path.is_dir()] == [limits.LEAF]
    finally:
        removed(real_group)
