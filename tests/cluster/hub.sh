#!/bin/sh
# hub.sh: becomes the first process of a test network: a switch, a disk in memory for each node, a copy of the checkout.
# Usage: hub.sh CHECKOUT PYTHON NAME...
# Reads: CHECKOUT; PYTHON, which every account of a node can run; stdin, until its end: then the network is gone, with all in it.
# Writes: /mnt and /run, both in memory and seen by nobody else; `ready` on stdout.
# How: mounts, links, names and processes live in namespaces that end with this process, so nothing is left even after kill -9.
# Pages: CONTRIBUTING.md
set -eu
umask 022
checkout=$1 python=$2
shift 2

mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/software /mnt/software/.venv /mnt/software/.venv/bin
cp -a "$checkout"/bin "$checkout"/cit_* "$checkout"/pyproject.toml /mnt/software
chown -R 0:0 /mnt/software
chmod -R go-w /mnt/software
ln -s "$python" /mnt/software/.venv/bin/python
printf 'home = %s\n' "${python%/*}" >/mnt/software/.venv/pyvenv.cfg
mkdir /mnt/software/.venv/lib
mount --bind "$checkout/.venv/lib" /mnt/software/.venv/lib # a mount: other accounts need no way through the folders above it
/mnt/software/.venv/bin/python -m compileall -q /mnt/software/bin /mnt/software/cit_*

{
  echo 'link set lo up'
  echo 'link add switch type bridge'
  echo 'addr add 10.77.0.254/24 dev switch'
  echo 'link set switch up'
  number=0
  for name; do
    number=$((number + 1))
    mkdir "/mnt/$name"
    mount -t tmpfs -o mode=755,size=1g tmpfs "/mnt/$name"
    ip netns add "$name"
    echo "link add to-$name type veth peer name eth0 netns $name"
    echo "link set to-$name master switch up"
  done
} >/mnt/links
ip -batch /mnt/links
number=0
for name; do
  number=$((number + 1))
  printf 'link set lo up\naddr add 10.77.0.%s/24 dev eth0\nlink set eth0 up\n' "$number" | ip -n "$name" -batch -
  # Who is not there is known to be away after a tenth of a second, not three: tests wait for it.
  nsenter --net="/run/netns/$name" sh -c 'cd /proc/sys/net/ipv4/neigh/eth0
    echo 50 >retrans_time_ms; echo 2 >mcast_solicit; echo 2 >ucast_solicit; echo 0 >delay_first_probe_time; echo 500 >base_reachable_time_ms'
done
echo ready
exec cat
