"""The tools of the file benchmark, each behind the same five steps. A step is one command of the tool, as its manual has
it, with zstd at its fastest real level, its own caches in the benchmark's folder, and everything else as it comes."""
import json
import os
import subprocess
import sys
import tempfile
import time

BIN = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release"))


class Run:
    """How a command went: wall and CPU seconds, peak memory in MB, standard output and standard error."""

    def __init__(self, args, env=None, cwd=None):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            start = time.monotonic()
            process = subprocess.Popen(args, stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=cwd,
                                       env={**os.environ, **(env or {})})
            _, status, usage = os.wait4(process.pid, 0)
            self.wall = time.monotonic() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu, self.rss = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
            out.seek(0)
            err.seek(0)
            self.out, self.err = out.read().decode(), err.read().decode()
            if process.returncode != 0:
                sys.exit(f"{args} ended with {process.returncode}:\n{self.err}\n{self.out}")


def peers():
    cache = os.environ.get("LIFEBOAT_PEERS") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "lifeboat/peers")
    lines = open(os.path.join(cache, "programs")).read().splitlines()
    return dict(line.split("=", 1) for line in lines)


def size(folder):
    return sum(os.path.getsize(os.path.join(base, name)) for base, _, names in os.walk(folder) for name in names)


class Tool:
    def __init__(self, folder, tree):
        self.folder, self.tree, self.repo = folder, tree, os.path.join(folder, "repo")
        os.makedirs(folder)

    def stored(self):
        return size(self.repo)

    def again(self):
        return self.first()


class Restic(Tool):
    name = "restic"

    def run(self, *args):
        env = {"RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": f"{self.folder}/cache", "RESTIC_REPOSITORY": self.repo}
        return Run([peers()["restic"], "--quiet", "--compression", "fastest", *args], env, self.tree)

    def init(self):
        self.run("init")

    def first(self):
        return self.run("backup", ".")

    def all(self):
        return self.run("backup", "--force", ".")

    def restore(self, to):
        return self.run("restore", "latest", "--target", to)


class Kopia(Tool):
    name = "kopia"

    def run(self, *args):
        env = {"KOPIA_PASSWORD": "x", "KOPIA_CHECK_FOR_UPDATES": "false", "KOPIA_LOG_DIR": f"{self.folder}/log",
               "KOPIA_CACHE_DIRECTORY": f"{self.folder}/cache", "KOPIA_CONFIG_PATH": f"{self.folder}/config"}
        return Run([peers()["kopia"], "--no-auto-maintenance", "--no-progress", *args], env)

    def init(self):
        os.makedirs(self.repo)
        self.run("repository", "create", "filesystem", "--path", self.repo)
        self.run("policy", "set", "--global", "--compression", "zstd-fastest")

    def first(self):
        run = self.run("snapshot", "create", "--json", self.tree)
        self.id = json.loads(run.out)["id"]
        return run

    def all(self):
        return self.run("snapshot", "create", "--force-hash=100", "--json", self.tree)

    def restore(self, to):
        return self.run("restore", self.id, to)


class Rustic(Tool):
    name = "rustic"

    def run(self, *args):
        env = {"RUSTIC_PASSWORD": "x", "RUSTIC_REPOSITORY": self.repo, "RUSTIC_CACHE_DIR": f"{self.folder}/cache",
               "RUSTIC_NO_PROGRESS": "true", "RUSTIC_LOG_LEVEL": "error", "HOME": self.folder}
        return Run([peers()["rustic"], *args], env, self.tree)

    def init(self):
        self.run("init", "--set-compression", "1")

    def first(self):
        return self.run("backup", ".")

    def all(self):
        return self.run("backup", "--force", ".")

    def restore(self, to):
        return self.run("restore", "latest", to)


class Lifeboat(Tool):
    name = "lifeboat"
    s3 = None

    def url(self):
        return f"file://{self.repo}"

    def init(self):
        self.admin = f"{self.folder}/admin"
        os.makedirs(f"{self.folder}/vault")
        Run([f"{BIN}/lifeboat", "init", "--repo", self.url(), "--cluster", "bench", "--vault",
             f"file://{self.folder}/vault", "--out", self.admin, "--unprotected", *self.flags()])

    def flags(self):
        return []

    def first(self, *more):
        return Run([f"{BIN}/lifeboat-agent", "backup-path", "--config", f"{self.admin}/agent.toml", "--name", "tree",
                    self.tree, "--json", *more])

    def all(self):
        return self.first("--read-all")

    def restore(self, to):
        return Run([f"{BIN}/lifeboat", "extract", "latest", "volumes/_paths/tree", "--to", to, "--repo", self.url(),
                    "--identity", f"{self.admin}/identity.txt", *self.flags()])


class LifeboatS3(Lifeboat):
    name = "lifeboat, S3"

    def url(self):
        return f"s3://{self.s3['BUCKET']}/{os.path.basename(os.path.dirname(self.folder))}-{os.path.basename(self.folder)}"

    def flags(self):
        return ["--s3-endpoint", self.s3["ENDPOINT"], "--credentials-file", self.s3["CREDENTIALS"]]

    def init(self):
        super().init()
        path = f"{self.admin}/agent.toml"
        text = open(path).read().replace("\n[s3]\n", f"\n[s3]\ncredentials_file = \"{self.s3['CREDENTIALS']}\"\n")
        open(path, "w").write(text)

    def stored(self):
        return 0


def others():
    """Those that are built."""
    return [tool for tool in (Restic, Kopia, Rustic) if tool.name in peers()]
