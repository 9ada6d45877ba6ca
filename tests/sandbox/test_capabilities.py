"""What the machine is said to give, and refusals where it does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import consilience
from consilience.sandbox import (
    DEFAULT_REQUIRED,
    GUARANTEES,
    Capabilities,
    Limits,
    Policy,
    SandboxUnavailable,
    cgroup,
    command,
    probe,
    run_python,
    seccomp,
)
from consilience.sandbox.capabilities import judge
from consilience.sandbox.command import Setup

GOOD: dict[str, Any] = {
    "caps": ["0" * 16] * 4,
    "no_new_privs": "1",
    "seccomp": "2",
    "processes": [1, 2],
    "interfaces": ["lo"],
    "connect": "ENETUNREACH",
    "hypervisor": "EAFNOSUPPORT",
    "writes": {"/x": "EROFS"},
    "scratch": {"/tmp": "succeeded"},
    "sizes": {"/scratch": 1 << 20, "/tmp": 1 << 20, "/dev/shm": 1 << 20},
    "etc": [],
    "environment": ["PATH"],
    "unshare": "EPERM",
    "limits": {"RLIMIT_CPU": 31, "RLIMIT_FSIZE": 1, "RLIMIT_AS": 1, "RLIMIT_CORE": 0},
    "forks": 10,
}


def test_this_machine_gives_what_the_default_policy_asks(capabilities: Capabilities, limits: Limits) -> None:
    assert capabilities.held(limits) >= DEFAULT_REQUIRED, capabilities.table()
    assert probe() is capabilities
    assert len(capabilities.table().splitlines()) == len(GUARANTEES)


def test_good_facts_give_every_guarantee() -> None:
    assert all(judge(GOOD, {60001}, Limits()).values())


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"writes": {"/usr/x": "succeeded"}}, {"fs_ro", "fs_scoped_write"}),
        ({"etc": ["shadow"]}, {"fs_ro"}),
        ({"scratch": {"/tmp": "EACCES"}}, {"fs_scoped_write"}),
        ({"interfaces": ["lo", "eth0"]}, {"no_net"}),
        ({"connect": "ECONNREFUSED"}, {"no_net"}),
        ({"hypervisor": "succeeded"}, {"no_net"}),
        ({"processes": [1, 4711]}, {"no_host_pids"}),
        ({"caps": ["0000000000000001"] * 4}, {"no_caps"}),
        ({"no_new_privs": "0"}, {"no_new_privs"}),
        ({"seccomp": "0"}, {"seccomp"}),
        ({"unshare": "succeeded"}, {"userns_blocked"}),
        ({"forks": 65}, {"pids"}),
        ({"environment": ["PATH", "API_KEY"]}, {"env_clean"}),
        ({"sizes": {"/scratch": 1 << 40, "/tmp": 1, "/dev/shm": 1}}, {"disk_quota"}),
        ({"limits": dict.fromkeys(GOOD["limits"], -1)}, {"cpu_time", "fsize", "mem_process"}),
    ],
)
def test_each_bad_fact_costs_its_guarantee(change: dict[str, Any], lost: set[str]) -> None:
    checks = judge({**GOOD, **change}, {60001}, Limits())
    assert {name for name, held in checks.items() if not held} == lost


@pytest.mark.parametrize("uids", [{0}, {0, 60001}, set()])
def test_root_as_the_host_sees_it_is_never_a_drop(uids: set[int]) -> None:
    assert not judge(GOOD, uids, Limits())["uid_drop"]


def test_without_bubblewrap_every_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "consilience.sandbox.capabilities.find", lambda name: None if name == "bwrap" else f"/usr/bin/{name}"
    )
    probe.cache_clear()
    try:
        with pytest.raises(SandboxUnavailable, match=r"bwrap is not installed.*tools/install_sandbox.sh") as caught:
            run_python("print(1)")
        assert set(caught.value.missing) == DEFAULT_REQUIRED
        with pytest.raises(SandboxUnavailable):  # nothing weaker is left: there is no plain subprocess to fall back to
            run_python("print(1)", policy=Policy(allow_weaker=True))
    finally:
        probe.cache_clear()


def test_a_missing_guarantee_is_named_and_can_be_allowed() -> None:
    names = frozenset(GUARANTEES) - {"mem", "cpu_quota"}
    weak = Capabilities(Setup("B", False), None, names, {"mem": "no cgroup"})
    with pytest.raises(SandboxUnavailable, match=r"does not give mem \(no cgroup\).*Limits\(pids=1\)") as caught:
        weak.admit(Policy(), Limits())
    assert caught.value.missing == ("mem",)
    assert weak.admit(Policy(allow_weaker=True), Limits())[1] == ("mem",)
    assert weak.admit(Policy(), Limits(pids=1))[1] == ()
    with pytest.raises(SandboxUnavailable, match="cpu_quota"):
        weak.admit(Policy(required=frozenset({"cpu_quota"})), Limits(cores=1))


def test_weak_runs_say_so(capabilities: Capabilities, limits: Limits) -> None:
    policy = Policy(required=DEFAULT_REQUIRED | {"cpu_quota"}, allow_weaker=True)
    result = run_python("print(1)", limits=limits, policy=policy)  # no quota was asked for, so there is none
    assert (result.status, result.weak) == ("ok", ("cpu_quota",))


def test_a_host_that_forbids_namespaces_is_reported_in_its_own_words(
    capabilities: Capabilities, limits: Limits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    real = command.find
    monkeypatch.setattr(command, "find", lambda name: str(fake) if name == "bwrap" else real(name))
    result = run_python("print(1)", limits=limits)
    assert (result.status, result.exit_code) == ("setup_error", None)
    assert "No permissions to create new namespace" in result.stderr
    monkeypatch.setattr("consilience.sandbox.capabilities.find", command.find)
    probe.cache_clear()
    try:
        with pytest.raises(SandboxUnavailable, match="No permissions"):
            run_python("print(1)")
    finally:
        probe.cache_clear()


def test_a_program_cannot_pass_for_a_setup_error(limits: Limits) -> None:
    result = run_python("import sys; sys.exit('bwrap: No permissions to create new namespace')", limits=limits)
    assert result.status == "error"


def test_the_filter_is_classic_bpf_and_strict_is_another() -> None:
    default, strict = seccomp.program(), seccomp.program(strict=True)
    assert len(default) % 8 == 0
    assert 300 < len(default) < 4096 * 8
    assert default != strict
    assert seccomp.program() == default


def test_ordinary_user(capabilities: Capabilities, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same checks as an unprivileged user: pattern B; run by root, as the user nobody with the system's Python."""
    python = "/usr/bin/python3"
    if os.geteuid() == 0:
        if not Path(python).exists():
            pytest.fail("needs /usr/bin/python3 (apt install python3): tools/install_sandbox.sh installs it")
        folder = Path("/var/tmp") / f"consilience-test-{os.getpid()}"
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    else:
        folder, python, prefix = tmp_path_factory.mktemp("user") / "p", sys.executable, []
    package = Path(consilience.__file__).parent
    code = """
from consilience.sandbox import *
from consilience.sandbox.execute import *
c = probe()
assert c.setup is not None, c.table()
assert c.setup.pattern == "B"
one = Limits(pids=1, wall_s=10, memory_mb=512)
r = run_python("open('a','w').write('hi'); print(open('b').read())", inputs={"b": b"in"}, limits=one)
assert (r.status, r.stdout, [f.data for f in r.files]) == ("ok", "in\\n", [b"hi", b"in"]), r
if not c.setup.groups:
    try:
        run_python("1")
        raise SystemExit("not refused")
    except SandboxUnavailable as error:
        assert error.missing == ("mem",), error
    assert run_python("x = bytearray(600 << 20)", limits=one).status == "error"
    assert run_python("import os; os.fork()", limits=one).status == "error"
with WarmPool(2, limits=one) as pool:
    assert [pool.run(Program(code=f"print({i})")).stdout for i in range(4)] == [f"{i}\\n" for i in range(4)]
assert run_python("while True: pass", limits=Limits(pids=1, wall_s=0.5)).status == "timeout"
assert c.held(one) >= DEFAULT_REQUIRED, c.table()
print("contained")
"""
    try:
        (folder / "consilience").mkdir(parents=True, mode=0o755)
        shutil.copytree(package / "sandbox", folder / "consilience/sandbox")
        for name in ("__init__.py", "errors.py"):
            shutil.copy(package / name, folder / "consilience")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        done = subprocess.run(
            [*prefix, python, "-B", "-c", code],
            cwd="/",
            env={"PYTHONPATH": str(folder), "PATH": os.environ.get("PATH", "")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.stdout == "contained\n", done.stderr


V1 = """
30 20 0:26 / /cg/memory rw - cgroup cgroup rw,memory
31 20 0:27 / /cg/pids rw - cgroup cgroup rw,pids
32 20 0:28 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct
33 20 0:29 / /cg/unified rw - cgroup2 cgroup2 rw
"""


def test_place_in_version_1_is_below_our_own_group(tmp_path: Path) -> None:
    """Simulated hierarchies: plain directories stand for the kernel's."""
    for name in ("memory/own/group", "pids", "cpu", "unified"):
        (tmp_path / name).mkdir(parents=True)
    found = cgroup.place(V1.replace("/cg", str(tmp_path)), "4:memory:/own/group\n8:pids:/\n1:cpu,cpuacct:/\n0::/\n")
    assert found is not None
    assert found.version == 1
    assert found.directories == {
        "memory": tmp_path / "memory/own/group",
        "pids": tmp_path / "pids",
        "cpu": tmp_path / "cpu",
        "cpuacct": tmp_path / "cpu",
    }


def test_version_2_settings_and_readings(tmp_path: Path) -> None:
    """A simulated version 2 hierarchy: our group's parent has the controllers enabled for its children."""
    own = tmp_path / "app/scope"
    own.mkdir(parents=True)
    (tmp_path / "app/cgroup.subtree_control").write_text("cpu memory pids\n")
    (tmp_path / "app/cgroup.procs").write_text("")
    mounts = f"30 20 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    found = cgroup.place(mounts, "0::/app/scope\n")
    assert found == cgroup.Place(2, dict.fromkeys(("memory", "pids", "cpu"), tmp_path / "app"))
    assert cgroup.place(mounts, "0::/\n") is None
    group = cgroup.Group(found, Limits(memory_mb=64, pids=5, cores=0.5))
    (made,) = (tmp_path / "app").glob(f"{cgroup.PREFIX}{os.getpid()}-*")
    written = {path.name: path.read_text() for path in made.iterdir()}
    assert written == {"memory.max": str(64 << 20), "cpu.max": "50000 100000", "pids.max": "6"}
    (made / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    (made / "memory.peak").write_text(str(32 << 20))
    (made / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    assert group.usage() == cgroup.Usage(1, 32.0, 1.5)
    group.add(123)
    assert (made / "cgroup.procs").read_text() == "123"


def test_swap_is_limited_with_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.memsw.limit_in_bytes").write_text("")
    paths = dict.fromkeys(("memory", "pids"), tmp_path)
    names = [path.name for path in cgroup.settings(1, paths, Limits())]
    assert names == ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "pids.max"]


def test_groups_are_removed_and_orphans_swept(capabilities: Capabilities, limits: Limits) -> None:
    if capabilities.place is None:
        assert capabilities.setup is not None
        return
    parents = set(capabilities.place.directories.values())

    def own() -> set[Path]:
        return {path for parent in parents for path in parent.glob(f"{cgroup.PREFIX}{os.getpid()}-*")}

    before = own()  # of pools that other tests of this process keep
    run_python("print(1)", limits=limits)
    assert own() <= before
    orphan = capabilities.place.directories["pids"] / f"{cgroup.PREFIX}4194999-0"
    orphan.mkdir()
    cgroup._swept.clear()
    cgroup.Group(capabilities.place, limits).close()
    assert not orphan.exists()
