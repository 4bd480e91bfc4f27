#!/usr/bin/env python3
"""The benchmark: clusters and an S3 server by lifeboat-harness, whole processes timed from outside, their peak memory
as the operating system accounts it. Both sides of each ratio run in one go."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

BIN = os.path.abspath("target/release")
ID = f"bench-{os.getpid()}"
rows = []


def timed(*args, ok=(0,)):
    """Runs a program; (seconds, peak RSS in MB, standard output)."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(args, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        out.seek(0)
        err.seek(0)
        if process.returncode not in ok:
            sys.exit(f"{args} ended with {process.returncode}:\n{err.read().decode()}\n{out.read().decode()}")
        return seconds, usage.ru_maxrss / 1024, out.read().decode()


def harness(*args):
    text = subprocess.run([f"{BIN}/lifeboat-harness", *args], check=True, capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line.split("=")[0].isupper())


def row(what, seconds, rss, figure):
    rows.append((what, seconds, rss, figure))
    print(f"{what:58} {seconds:8.2f} s {rss:7.0f} MB   {figure}", flush=True)


class World:
    """A repository of one cluster in a bucket, and a vault."""

    def __init__(self, folder, s3, name):
        self.folder, self.s3 = os.path.join(folder, name), s3
        self.repo = f"s3://{s3['BUCKET']}/{name}"
        os.makedirs(f"{self.folder}/vault")
        self.s3_flags = ["--s3-endpoint", s3["ENDPOINT"], "--credentials-file", s3["CREDENTIALS"]]
        timed(f"{BIN}/lifeboat", "init", "--repo", self.repo, "--cluster", "bench", "--vault",
              f"file://{self.folder}/vault", "--out", f"{self.folder}/admin", "--unprotected", *self.s3_flags)
        for name, table in (("agent.toml", "[s3]"), ("replicator.toml", "[source.s3]")):
            path = f"{self.folder}/admin/{name}"
            setting = f'\n{table}\ncredentials_file = "{s3["CREDENTIALS"]}"\n'
            text = open(path).read().replace(f"\n{table}\n", setting)
            open(path, "w").write(text)

    def backup(self, kubeconfig):
        seconds, rss, out = timed(f"{BIN}/lifeboat-agent", "backup", "--config", f"{self.folder}/admin/agent.toml",
                                  "--kubeconfig", kubeconfig, "--json")
        return seconds, rss, json.loads(out)

    def pull(self):
        return timed(f"{BIN}/lifeboat-replicator", "pull", "--config", f"{self.folder}/admin/replicator.toml", "--once")

    def restore(self, kubeconfig):
        return timed(f"{BIN}/lifeboat", "restore", "latest", "--repo", f"file://{self.folder}/vault", "--identity",
                     f"{self.folder}/admin/identity.txt", "--kubeconfig", kubeconfig, "--yes", ok=(0, 3))


def load(kubeconfig, *args):
    return json.loads(timed(f"{BIN}/lifeboat-bench", "--kubeconfig", kubeconfig, *args)[2])


def small(folder, s3):
    """10,000 ConfigMaps and Secrets of about 1 KB in 20 namespaces, through S3."""
    source = harness("up", "--name", f"{ID}-a")["KUBECONFIG"]
    plain = load(source)
    row("plain client, 10,000 creates, 32 in flight", plain["seconds"], 0, f"{plain['per_second']:.0f} objects/s")
    world = World(folder, s3, "small")
    seconds, rss, first = world.backup(source)
    objects = first["counts"]["objects"]
    row(f"first backup of {objects} objects (Velero: 840/s)", seconds, rss, f"{objects / seconds:.0f} objects/s")
    seconds, rss, again = world.backup(source)
    share = 100 * again["sent_bytes"] / first["sent_bytes"]
    row("second backup, nothing changed", seconds, rss, f"{again['sent_bytes']} of {first['sent_bytes']} bytes ({share:.1f} %), Secrets included")
    seconds, rss, _ = world.pull()
    row("pull of both", seconds, rss, "")
    seconds, rss, _ = world.pull()
    row("pull, nothing new", seconds, rss, "")
    harness("down", "--name", f"{ID}-a")
    # A fresh cluster for each side, as a restore has one.
    target = harness("up", "--name", f"{ID}-b")["KUBECONFIG"]
    seconds, rss, _ = world.restore(target)
    rate = objects / seconds
    row(f"restore of {objects} objects (Velero: 49/s)", seconds, rss, f"{rate:.0f} objects/s")
    harness("down", "--name", f"{ID}-b")
    target = harness("up", "--name", f"{ID}-c")["KUBECONFIG"]
    plain = load(target)
    row("plain client again, on a fresh cluster", plain["seconds"], 0,
        f"{plain['per_second']:.0f} objects/s; restore / plain = {rate / plain['per_second']:.2f}")
    harness("down", "--name", f"{ID}-c")


def without_secrets(folder, s3):
    kubeconfig = harness("up", "--name", f"{ID}-d")["KUBECONFIG"]
    load(kubeconfig, "--no-secrets")
    world = World(folder, s3, "no-secrets")
    _, _, first = world.backup(kubeconfig)
    seconds, rss, again = world.backup(kubeconfig)
    share = 100 * again["sent_bytes"] / first["sent_bytes"]
    row("second backup, nothing changed, no Secrets", seconds, rss, f"{again['sent_bytes']} of {first['sent_bytes']} bytes: {share:.2f} %")
    harness("down", "--name", f"{ID}-d")


def large(folder, s3, what, *args):
    kubeconfig = harness("up", "--name", f"{ID}-e")["KUBECONFIG"]
    load(kubeconfig, *args)
    world = World(folder, s3, what.split()[0].replace(",", ""))
    seconds, rss, report = world.backup(kubeconfig)
    row(f"first backup of {what}", seconds, rss, f"{report['counts']['objects'] / seconds:.0f} objects/s")
    seconds, rss, _ = world.backup(kubeconfig)
    row(f"second backup of {what}", seconds, rss, "")
    harness("down", "--name", f"{ID}-e")


def main():
    folder = tempfile.mkdtemp(prefix="lifeboat-bench.")
    os.environ["AWS_REGION"] = "us-east-1"
    s3 = harness("s3", "up", "--name", ID)
    try:
        print(f"{os.cpu_count()} cores; whole processes, release build\n")
        small(folder, s3)
        without_secrets(folder, s3)
        large(folder, s3, "100,000 objects of 1 KB", "--objects", "100000")
        large(folder, s3, "500 objects of 1 MB", "--objects", "500", "--size", "1000000", "--in-flight", "8")
    finally:
        harness("s3", "down", "--name", ID)
        for letter in "abcde":
            subprocess.run([f"{BIN}/lifeboat-harness", "down", "--name", f"{ID}-{letter}"], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
