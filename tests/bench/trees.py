"""The trees of the file benchmark. They differ a little between machines, so a run prints what it had; both sides of a
ratio always get the same one."""
import itertools
import os
import random
import shutil
import subprocess
import tarfile

SMALL_FILES, SMALL_BYTES = 21_000, 321_000_000
# No package may be most of the tree.
OF_ONE_PACKAGE = 300
BIG_TAR, BIG_NOISE = 847_000_000, 512 << 20
SOURCES = (".go", ".rs", ".c", ".h", ".s", ".md", ".yaml", ".json", ".toml", ".txt", ".proto", ".sh", ".py")


def packages(root, depth):
    """Folders of source packages, in a fixed order that mixes them."""
    found = []
    for base, folders, _ in os.walk(root):
        if base.count(os.sep) - root.count(os.sep) == depth:
            found.append(base)
            folders.clear()
        folders.sort()
    random.Random(1).shuffle(found)
    return iter(found)


def source_files(package):
    for base, folders, names in os.walk(package):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(base, name)
            if name.endswith(SOURCES) and os.path.isfile(path) and os.path.getsize(path) < 4 << 20:
                yield path, os.path.getsize(path)


def small(target):
    """About 21,000 source files of 321 MB, copied from the caches of Go modules and of crates."""
    go = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True).stdout.strip()
    cargo = os.path.join(os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo")), "registry/src")
    larger, smaller = packages(go, 3), packages(cargo, 2)
    files = size = 0
    for n in itertools.count():
        wanted = larger if size * SMALL_FILES <= files * SMALL_BYTES else smaller
        package = next(wanted, None)
        if package is None:
            raise SystemExit("the caches of Go modules and crates have too little for the benchmark: run `make build peers`")
        for path, length in itertools.islice(source_files(package), OF_ONE_PACKAGE):
            copy = os.path.join(target, f"{n:04}-{os.path.basename(package)}", os.path.relpath(path, package))
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copyfile(path, copy)
            files, size = files + 1, size + length
            if files >= SMALL_FILES or size >= SMALL_BYTES:
                return


def big(target):
    """One tar of binaries, about 850 MB, and 512 MiB of random bytes."""
    os.makedirs(target)
    size = 0
    with tarfile.open(os.path.join(target, "binaries.tar"), "w") as tar:
        for base, folders, names in os.walk("/usr/lib"):
            folders.sort()
            for path in (os.path.join(base, name) for name in sorted(names)):
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                tar.add(path, recursive=False)
                size += os.path.getsize(path)
                if size >= BIG_TAR:
                    break
            if size >= BIG_TAR:
                break
    noise = random.Random(2)
    with open(os.path.join(target, "random"), "wb") as out:
        for _ in range(BIG_NOISE >> 20):
            out.write(noise.randbytes(1 << 20))


def millions(target, count=2_000_000):
    """Very many files of 100 bytes, a thousand in a directory."""
    noise = random.Random(3)
    for folder in range(count // 1000):
        path = os.path.join(target, f"{folder // 100:03}", f"{folder:05}")
        os.makedirs(path)
        for name in range(1000):
            with open(os.path.join(path, f"{name:03}"), "wb", buffering=0) as out:
                out.write(noise.randbytes(100))


def warm(tree):
    """Reads everything once, so that each tool finds it in the page cache; (files, bytes)."""
    files = size = 0
    for base, _, names in os.walk(tree):
        for name in names:
            with open(os.path.join(base, name), "rb") as file:
                while block := file.read(1 << 22):
                    size += len(block)
            files += 1
    return files, size
