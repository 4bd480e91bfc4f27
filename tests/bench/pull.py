#!/usr/bin/env python3
"""The benchmark of the replicator: a first pull of 1.4 GB in packs of 16 MiB from a local S3 server into a local vault,
verified and synced to disk, beside `rclone copy --transfers 32` of the same objects; the same from servers that are 50, 150
and 300 ms away, against the same through a proxy that adds nothing; and pulls that find nothing new. Sides take turns; of several rounds the best counts, for both. Prints
tables and ratios; asserts nothing.

    tests/bench.sh pull [--rounds N] [--mb N] [--ms 0,50,150,300] [--json FILE] [--raise]
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import tools

GOALS = "goals: wall at most 1.00 and CPU at most 0.50 of rclone's, 120 MB; far away 0.90 of the own speed near"


def harness(*args):
    text = subprocess.run([f"{tools.BIN}/lifeboat-harness", *args], check=True, capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line.split("=")[0].isupper())


class Far:
    """The server, `ms` away."""

    def __init__(self, endpoint, ms):
        server = endpoint.removeprefix("http://")
        self.process = subprocess.Popen([f"{tools.BIN}/lifeboat-harness", "slow", "--server", server, "--ms", str(ms)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = "http://" + self.process.stdout.readline().strip().removeprefix("ADDRESS=")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def repository(folder, s3, mb):
    """A snapshot of one tree of random bytes; gives the folder of its settings."""
    tree = f"{folder}/tree"
    os.makedirs(tree)
    noise = random.Random(5)
    for n in range(max(1, mb // 100)):
        with open(f"{tree}/{n}", "wb") as out:
            for _ in range(100):
                out.write(noise.randbytes(1_000_000))
    admin = f"{folder}/admin"
    os.makedirs(f"{folder}/vault")
    tools.Run([f"{tools.BIN}/lifeboat", "init", "--repo", f"s3://{s3['BUCKET']}/bench", "--cluster", "bench", "--vault",
               f"file://{folder}/vault", "--out", admin, "--unprotected", "--s3-endpoint", s3["ENDPOINT"],
               "--credentials-file", s3["CREDENTIALS"]])
    for name, table in (("agent.toml", "[s3]"), ("replicator.toml", "[source.s3]")):
        path = f"{admin}/{name}"
        text = open(path).read().replace(f"\n{table}\n", f"\n{table}\ncredentials_file = \"{s3['CREDENTIALS']}\"\n")
        open(path, "w").write(text)
    tools.Run([f"{tools.BIN}/lifeboat-agent", "backup-path", "--config", f"{admin}/agent.toml", "--name", "tree", tree])
    shutil.rmtree(tree)
    return admin


class Sides:
    def __init__(self, folder, admin, s3, urgent):
        self.folder, self.admin, self.s3, self.n = folder, admin, s3, 0
        self.prefix = ["nice", "-n", "-15"] if urgent else []
        self.secret = dict(line.split(" = ") for line in open(s3["CREDENTIALS"]).read().splitlines() if " = " in line)

    def fresh(self, name):
        self.n += 1
        path = f"{self.folder}/{name}-{self.n}"
        os.makedirs(path)
        return path

    def ours(self, endpoint):
        """A first pull: the run, bytes per second once started, the vault, and the configuration for idle pulls."""
        vault = self.fresh("vault")
        config = f"{self.admin}/replicator-{self.n}.toml"
        text = open(f"{self.admin}/replicator.toml").read()
        text = text.replace(f"file://{self.folder}/vault", f"file://{vault}").replace(self.s3["ENDPOINT"], endpoint)
        # As many transfers as it comes with, whichever `init` wrote the file.
        text = re.sub(r"transfers = \d+\n", "", text)
        open(config, "w").write(text)
        watch = Watch(vault)
        run = self.pull(config)
        return run, watch.speed(), vault, config

    def pull(self, config):
        return tools.Run([*self.prefix, f"{tools.BIN}/lifeboat-replicator", "pull", "--once", "--json", "--config", config])

    def rclone(self, endpoint):
        target = self.fresh("rclone")
        env = {"RCLONE_CONFIG": "/dev/null", "RCLONE_S3_PROVIDER": "Other", "RCLONE_S3_ENDPOINT": endpoint,
               "RCLONE_S3_ACCESS_KEY_ID": self.secret["aws_access_key_id"],
               "RCLONE_S3_SECRET_ACCESS_KEY": self.secret["aws_secret_access_key"], "RCLONE_S3_REGION": "us-east-1"}
        run = tools.Run([*self.prefix, tools.peers()["rclone"], "copy", "--transfers", "32",
                         f":s3:{self.s3['BUCKET']}/bench/bench/packs", target], env)
        return run, target


class Watch(threading.Thread):
    """Bytes in a vault over time, seen from outside."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.points, self.over = folder, [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.05):
            try:
                self.points.append((time.monotonic(), tools.size(self.folder)))
            except OSError:
                continue  # A file got its name just now.

    def speed(self):
        """Bytes per second between a fifth and nearly all of them."""
        self.over.set()
        self.join()
        total = self.points[-1][1] if self.points else 0
        middle = [(at, size) for at, size in self.points if total / 5 <= size <= total * 0.97]
        if len(middle) < 2:
            return 0
        return (middle[-1][1] - middle[0][1]) / (middle[-1][0] - middle[0][0])


def line(name, runs):
    best = min(runs, key=lambda r: r.wall)
    rss = max(r.rss for r in runs)
    print(f"  {name:26} {best.wall:7.2f} s {min(r.cpu for r in runs):7.2f} CPU s {rss:6.0f} MB", flush=True)
    return {"wall": best.wall, "cpu": min(r.cpu for r in runs), "rss": rss}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mb", type=int, default=1400)
    parser.add_argument("--ms", default="0,50,150,300", help="round trips to the server, comma-separated")
    parser.add_argument("--raise", dest="urgent", action="store_true", help="measured commands before all others (root)")
    parser.add_argument("--without-rclone", action="store_true")
    parser.add_argument("--json", help="a file for the figures")
    parser.add_argument("--folder", help="where to work (default: the temporary folder)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    folder = tempfile.mkdtemp(prefix="lifeboat-bench.", dir=args.folder)
    server, figures, near = f"pull-{os.getpid()}", {}, None
    peer = not args.without_rclone and "rclone" in tools.peers()
    if not peer:
        print("without rclone (BENCH=1 make peers builds it)")
    try:
        s3 = harness("s3", "up", "--name", server)
        admin = repository(folder, s3, args.mb)
        sides = Sides(folder, admin, s3, args.urgent)
        print(f"{os.cpu_count()} cores; best of {args.rounds}; {GOALS}")
        for ms in map(int, args.ms.split(",")):
            if ms and not near:
                # What the proxy itself costs is no latency.
                far = Far(s3["ENDPOINT"], 0)
                near = 0
                for _ in range(args.rounds):
                    _, speed, vault, _ = sides.ours(far.endpoint)
                    near = max(near, speed)
                    shutil.rmtree(vault)
                print(f"through the proxy, 0 ms away: once started {near / 1e6:.0f} MB/s", flush=True)
                far.close()
            far = Far(s3["ENDPOINT"], ms) if ms else None
            endpoint = far.endpoint if far else s3["ENDPOINT"]
            print(f"{ms} ms away", flush=True)
            ours, theirs, idle, speeds = [], [], [], []
            for n in range(args.rounds):
                run, speed, vault, config = sides.ours(endpoint)
                ours.append(run)
                speeds.append(speed)
                idle.append(sides.pull(config))
                size = tools.size(f"{vault}/bench/packs")
                shutil.rmtree(vault)
                if peer:
                    run, target = sides.rclone(endpoint)
                    theirs.append(run)
                    if tools.size(target) != size:
                        sys.exit(f"rclone copied {tools.size(target)} bytes, the vault has {size}")
                    shutil.rmtree(target)
            figures[ms] = {"bytes": size, "pull": line("pull", ours), "idle": line("pull, nothing new", idle)}
            speed = max(speeds)
            figures[ms]["speed"] = speed
            if peer:
                figures[ms]["rclone"] = line("rclone copy", theirs)
                ratio = {k: figures[ms]["pull"][k] / figures[ms]["rclone"][k] for k in ("wall", "cpu")}
                print(f"  pull / rclone: wall {ratio['wall']:.2f}, CPU {ratio['cpu']:.2f}")
            share = f", {speed / near:.2f} of that at 0 ms" if near else ""
            print(f"  {size / 1e6:.0f} MB, once started {speed / 1e6:.0f} MB/s{share}", flush=True)
            if far:
                far.close()
        if args.json:
            json.dump(figures, open(args.json, "w"), indent=1)
    finally:
        subprocess.run([f"{tools.BIN}/lifeboat-harness", "s3", "down", "--name", server], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
