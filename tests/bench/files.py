#!/usr/bin/env python3
"""The benchmark of the file pipeline: directory trees, Lifeboat beside restic, kopia and rustic, each with a repository of
its own on the same disk, and Lifeboat through S3. Every round begins with fresh repositories, restores go into fresh
directories, and nothing is deleted before the end (a file system that has just deleted much creates files slowly). Before
each step memory is touched and given back: a virtual machine gets pages that nothing used for a while from its host one by
one, and what came first would pay for it, which tripled the time of single steps. Of several rounds the best counts, for
every tool. Prints a table and ratios; asserts nothing.

    tests/bench.sh files [--rounds N] [--only small|big] [--json FILE] [--without NAME]… [--no-s3]
    tests/bench.sh files --millions        memory and time for 2,000,000 files
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import tools
import trees

STEPS = ("first", "again", "all", "restore")
TITLES = {"first": "first", "again": "unchanged", "all": "read all", "restore": "restore"}


def harness(*args):
    text = subprocess.run([f"{tools.BIN}/lifeboat-harness", *args], check=True, capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line.split("=")[0].isupper())


def touch_memory():
    """Half of what is free, at most 4 GiB, touched and given back by a process of its own."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    code = "import mmap, sys\nsize = int(sys.argv[1])\nm = mmap.mmap(-1, size)\nfor at in range(0, size, 4096): m[at] = 1"
    subprocess.run([sys.executable, "-c", code, str(min(free // 2, 4 << 30))], check=True)


def measure(kind, folder, tree):
    """One round of one tool: {step: Run}, bytes stored."""
    tool = kind(folder, tree)
    tool.init()
    touch_memory()
    runs = {"first": tool.first()}
    stored = tool.stored()
    for step in ("again", "all"):
        touch_memory()
        runs[step] = getattr(tool, step)()
    target = f"{folder}/restored"
    touch_memory()
    runs["restore"] = tool.restore(target)
    missing = trees_size(tree) - tools.size(target)
    if missing:
        raise SystemExit(f"{tool.name} restored {missing} bytes too few")
    return runs, stored, padding(runs["first"])


def trees_size(tree):
    return tools.size(tree)


def padding(run):
    """Bytes of Padmé padding in a repository, as the run's report counts them; none where it does not."""
    try:
        return json.loads(run.out).get("padding_bytes")
    except ValueError:
        return None


class Best:
    def __init__(self):
        self.wall = self.cpu = float("inf")
        self.rss = 0

    def add(self, run):
        if run.wall < self.wall:
            self.wall, self.cpu = run.wall, run.cpu
        self.rss = max(self.rss, run.rss)


def compare(name, tree, folder, kinds, rounds):
    files, size = trees.warm(tree)
    print(f"\n{name}: {files:,} files, {size / 1e6:.0f} MB; best of {rounds}", flush=True)
    best = {kind.name: {step: Best() for step in STEPS} for kind in kinds}
    stored, padded = {}, {}
    for n in range(rounds):
        # Each tool is first once, so that none always meets the disk's quiet or busy hour.
        for kind in kinds[n % len(kinds):] + kinds[:n % len(kinds)]:
            where = os.path.join(folder, f"{name}-{n}", kind.name.replace(", ", "-"))
            runs, stored[kind.name], padded[kind.name] = measure(kind, where, tree)
            for step in STEPS:
                best[kind.name][step].add(runs[step])
            print(f"  round {n + 1}: {kind.name}: " + ", ".join(f"{TITLES[s]} {runs[s].wall:.2f}" for s in STEPS), flush=True)
    table(best, stored, padded)
    ratios(best, stored)
    return {"files": files, "bytes": size, "stored": stored, "padding": padded, "tools": {
        tool: {step: vars(run) for step, run in steps.items()} for tool, steps in best.items()}}


def table(best, stored, padded):
    head = "".join(f"{TITLES[s]:>10} s {'CPU':>6} {'MB':>5}" for s in STEPS)
    print(f"{'':14}{head}{'stored MiB':>12}")
    for tool, steps in best.items():
        cells = "".join(f"{r.wall:12.2f} {r.cpu:6.2f} {r.rss:5.0f}" for r in steps.values())
        size = f"{stored[tool] / 2**20:12.1f}" if stored[tool] else ""
        if padded[tool] is not None and stored[tool]:
            size += f" ({(stored[tool] - padded[tool]) / 2**20:.1f} without padding)"
        print(f"{tool:14}{cells}{size}", flush=True)


def ratios(best, stored):
    """Ours against the fastest other, step by step."""
    ours = best.get("lifeboat")
    rest = [name for name in best if not name.startswith("lifeboat")]
    if not ours or not rest:
        return
    for step in STEPS:
        fastest = min(rest, key=lambda name: best[name][step].wall)
        other, own = best[fastest][step], ours[step]
        print(f"  {TITLES[step]:10} {other.wall / own.wall:6.2f} times as fast as {fastest} ({other.wall:.2f} s), "
              f"{own.cpu / other.cpu:.2f} of its CPU seconds ({other.cpu:.2f})")
    smallest = min(rest, key=lambda name: stored[name])
    print(f"  repository {100 * stored['lifeboat'] / stored[smallest] - 100:+.1f} % of {smallest}'s, the smallest", flush=True)


def millions(folder):
    tree = f"{folder}/tree"
    print("making 2,000,000 files", flush=True)
    trees.millions(tree)
    tool = tools.Lifeboat(f"{folder}/lifeboat", tree)
    tool.init()
    for step in STEPS[:3]:
        run = getattr(tool, step)()
        print(f"{TITLES[step]:10} {run.wall:8.1f} s {run.cpu:8.1f} CPU s {run.rss:6.0f} MB   {tool.stored() / 2**20:.1f} MiB stored", flush=True)
    run = tool.restore(f"{folder}/restored")
    print(f"restore    {run.wall:8.1f} s {run.cpu:8.1f} CPU s {run.rss:6.0f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("small", "big"))
    parser.add_argument("--without", action="append", default=[], help="a tool to leave out")
    parser.add_argument("--no-s3", action="store_true")
    parser.add_argument("--millions", action="store_true")
    parser.add_argument("--json", help="a file for the figures")
    parser.add_argument("--folder", help="where to work (default: the temporary folder)")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="lifeboat-bench.", dir=args.folder)
    os.environ["AWS_REGION"] = "us-east-1"
    server = f"files-{os.getpid()}"
    kinds = [kind for kind in [*tools.others(), tools.Lifeboat] if kind.name not in args.without]
    try:
        if args.millions:
            return millions(folder)
        print(f"{os.cpu_count()} cores; beside us: {', '.join(k.name for k in kinds)}")
        if not args.no_s3:
            tools.Lifeboat.s3 = harness("s3", "up", "--name", server)
            kinds.append(tools.LifeboatS3)
        made, figures = {"small": trees.small, "big": trees.big}, {}
        for name in [args.only] if args.only else list(made):
            made[name](f"{folder}/{name}")
            rounds = args.rounds if name == "small" else max(1, args.rounds - 1)
            figures[name] = compare(name, f"{folder}/{name}", folder, kinds, rounds)
        if args.json:
            json.dump(figures, open(args.json, "w"), indent=1)
    finally:
        if not args.no_s3 and not args.millions:
            subprocess.run([f"{tools.BIN}/lifeboat-harness", "s3", "down", "--name", server], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
