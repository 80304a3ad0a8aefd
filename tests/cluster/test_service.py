"""Over real ssh: a module as a service whose answers scp fetches and age opens; what one builder has, another one needs."""

from __future__ import annotations

import hashlib
import shutil

import pytest

from tests.cluster.cluster import Cluster
from tests.int.cit_run.test_service import INTERFACE

pytestmark = pytest.mark.skipif(not shutil.which("age") or not shutil.which("scp"), reason="age or scp is missing")


@pytest.fixture
def cluster(loopback) -> Cluster:
    machines = loopback({"sun": ["ada"], "hub": ["cit"], "moon": ["build"], "star": ["build"]})
    ada, cit, *build = (machines[name].account(machines[name].user) for name in ("sun", "hub", "moon", "star"))
    return Cluster(ada, cit, build, **{"retry-after": "2s"})


def test_portions_are_fetched_by_scp_and_opened_by_age(cluster: Cluster) -> None:
    ada, moon = cluster.person, cluster.builders["moon"]
    moon.put(".cit/interfaces/zlib", INTERFACE, mode=0o700)
    moon.put("commit", "c0ffee\n")
    moon.put(".cit/interfaces/zlib.users", f"portions lib\n{cluster.ada.public}\n")
    moon.put("private", "for nobody\n")
    ask = "cit push -q --wait -w moon --call zlib version=1.3 --keep lib --reply lib=.ssh/id_ed25519.pub"
    ada.sh(f"{ask} -J first")
    ada.sh(f"{ask} -J again")
    assert moon.text("wc -l <builds").strip() == "1"
    first, again = (dict(reversed(line.split("\t")) for line in ada.text(f"cit fetch --url {job}").splitlines()) for job in ("first", "again"))
    assert first == again and list(first) == ["lib/libz.a.age"]
    url = first["lib/libz.a.age"]
    assert url.startswith(f"scp{moon.place[3:]}/.cit/store/")
    ssh = "-i .ssh/id_ed25519 -o UserKnownHostsFile=.cit/known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes"
    for way in ("", "-O"):
        ada.sh(f"! scp -q {way} {ssh} {url} early.age")
        assert not ada.path("early.age").exists(), "a door refuses scp until its owner lets it in"
    moon.sh("cit config door-scp true")
    for way in ("", "-O"):
        ada.sh(f"scp -q {way} {ssh} {url} got{way}.age")
        assert ada.text(f"age -d -i .ssh/id_ed25519 got{way}.age") == "--version=1.3 c0ffee"
        assert hashlib.sha256(ada.path(f"got{way}.age").read_bytes()).hexdigest() == url.rpartition("/")[2]
        for other in (".cit/key", f".cit/store/{'0' * 64}"):
            ada.sh(f"! scp -q {way} {ssh} scp://{url[6:].partition('/')[0]}/{other} stolen")
            assert not ada.path("stolen").exists()
        ada.sh(f"echo mine >up; ! scp -q {way} {ssh} up scp://{url[6:].partition('/')[0]}/up")
        assert not moon.path("up").exists()
    ada.sh(f"! scp -q -r {ssh} scp://{url[6:].partition('/')[0]}/.cit/store stolen")
    assert ada.text("cit fetch again . out && cat out/lib/libz.a").endswith("--version=1.3 c0ffee")
    moon.put(".cit/interfaces/zlib.users", "age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq\n")
    ada.sh(f"{ask} -J refused", status=77)
    assert "serves no key" in ada.text("cit why refused")
    moon.put(".cit/allowed_signers", cluster.members["moon"].listed("cit-result,cit-builder"))
    ada.sh(f"! scp -q {ssh} {url} late.age")  # who is not listed any more gets nothing, whatever stands in authorized_keys


def test_builder_needs_what_another_one_has(cluster: Cluster) -> None:
    ada, moon, star = cluster.person, cluster.builders["moon"], cluster.builders["star"]
    star.put(".cit/known_hosts", cluster.main.account.known + moon.known)
    made = "mkdir lib; echo code >lib/libz.a; echo '#!/bin/sh' >lib/run; echo echo ran >>lib/run; chmod +x lib/run; cit stash lib"
    ada.sh(f'cit push -q --wait -J maker -w moon --keep lib/libz.a -- sh -c "{made}"')
    use = "cit push -q -w star --need maker:lib/libz.a=dep/libz.a --need maker:lib"
    ada.sh(f"{use} -J early -- sh -c 'cat dep/libz.a; lib/run'")
    ada.sh("until cit why early | tr '\\n' ' ' | grep -q 'needs: dep'; do sleep 0.2; done")
    assert not star.text("ls .cit/store")
    key = " ".join(star.path(".cit/id_ed25519.pub").read_text().split()[:2])
    moon.sh("cit allow --control --door build@star -", stdin=f"{key} build@star\n".encode())
    ada.sh(f"{use} -J user -- sh -c 'cat dep/libz.a; lib/run'")
    ada.sh("cit wait -q user")
    assert ada.text("cit log user").endswith("code\nran")
    star.sh("cit unstash lib got", status=1)
    star.sh(f"cit unstash lib got @{moon.place} && got/run && cat got/libz.a")
    ada.sh("set -e; cit builders >/dev/null; cit unstash lib got @moon; test -x got/run; cit unstash lib got @mars", status=66)
    star.sh(f"cit unstash nothing @{moon.place}", status=1)
    star.sh("rm -r got; cit unstash lib got", status=1)
    digest = next(row[0] for job in cluster.lying("done") for part in job.all("artefact") for row in part.rows() if row[2] == "store/names/lib")
    assert star.text(f"cit unstash {digest} got") == "got"
    ada.sh("cit wait -q early")  # what it waited for can be had now
