#!/usr/bin/env python3
"""An independent reader of Lifeboat repositories, written from docs/format.md. Shares no code with the program.

    independent_reader.py list    REPO --owner KEY [--cluster NAME] [--json]
    independent_reader.py dump    REPO SNAPSHOT --identity F [--owner KEY] [--cluster NAME] [--json]
    independent_reader.py extract REPO SNAPSHOT --identity F --to DIR [--owner KEY] [--cluster NAME] [--devices]

REPO is a cluster's folder or the folder of several; SNAPSHOT is a number, an id, the beginning of one, or latest.
Everything is verified on the way down from the owner's key; --deep also hashes packs that are not opened whole.
Files of volumes go to volumes/… below DIR, with all their attributes; device nodes with --devices only. A file that
cannot be read or made is named, and the rest goes on. Exit code 0, or 1 with a line that says what is wrong.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import re
import stat
import struct
import sys

import blake3
import cbor2
import pyrage
import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

MIB = 1 << 20
DIRECTORY = 0xFFFFFFFF  # the directory's number as a frame
HEX32 = re.compile(r"[0-9a-f]{64}\Z")
VOLUME = re.compile(r"[!-.0-\[\]-~]{1,253}\Z")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


class Bad(Exception):
    """Something is not what it should be."""


def need(condition, why):
    if not condition:
        raise Bad(why)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def read(path, limit):
    try:
        with open(path, "rb") as f:
            data = f.read(limit + 1)
    except OSError as e:
        raise Bad(f"cannot read {path}: {e.strerror}")
    need(len(data) <= limit, f"{path} is over {limit} bytes")
    return data


def unbase64(text, what):
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise Bad(f"{what}: bad base64")
    need(base64.b64encode(data).decode() == text, f"{what}: base64 that is not canonical")
    return data


# Signed files: section 2.


def parse_json(data, what):
    def once(pairs):
        need(len({k for k, _ in pairs}) == len(pairs), f"{what}: a field is given twice")
        return dict(pairs)

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except ValueError as e:
        raise Bad(f"{what}: not JSON: {e}")


def verify_key(text):
    need(isinstance(text, str) and text.startswith("ed25519:"), f"not a public key: {text!r}")
    raw = unbase64(text[8:], "public key")
    need(len(raw) == 32, f"not a public key: {text!r}")
    return Ed25519PublicKey.from_public_bytes(raw)


class Envelope:
    """A DSSE envelope in its one encoding."""

    def __init__(self, data, kind, what):
        wire = parse_json(data, what)
        need(isinstance(wire, dict) and list(wire) == ["payload", "payloadType", "signatures"], f"{what}: fields")
        need(all(isinstance(s, dict) and list(s) == ["keyid", "sig"] for s in wire["signatures"]), f"{what}: fields")
        need(len(wire["signatures"]) <= 32, f"{what}: too many signatures")
        again = json.dumps(wire, ensure_ascii=False, separators=(",", ":"))
        need(again.encode("utf-8", "surrogatepass") == data, f"{what}: not the canonical encoding")
        self.type = f"application/vnd.lifeboat.{kind}+json"
        need(wire["payloadType"] == self.type, f"{what}: payload of another type")
        self.payload = unbase64(wire["payload"], what)
        self.signatures = [(s["keyid"], unbase64(s["sig"], what)) for s in wire["signatures"]]
        self.sha256 = sha256(self.payload)
        self.content = parse_json(self.payload, what)
        need(self.content.get("schema") == f"lifeboat/{kind}/1", f"{what}: unknown schema")

    def signed_by(self, key):
        message = b"DSSEv1 %d %s %d %s" % (len(self.type), self.type.encode(), len(self.payload), self.payload)
        for keyid, signature in self.signatures:
            try:
                if keyid == key:
                    verify_key(key).verify(signature, message)
                    return True
            except InvalidSignature:
                pass
        return False

    def count(self, keys):
        return sum(self.signed_by(k) for k in set(keys))


# Seals: sections 3 and 7.


def expand(key, info):
    return HKDFExpand(SHA256(), 32, info).derive(key)


class Pack:
    """A pack whose directory is open; frames are opened as they are asked for."""

    def __init__(self, data, entry, run_key):
        self.name, size, handle = entry
        need(len(data) == size, f"pack {self.name}: it has another size than its list says")
        need(data[:6] == b"LBPK\x01\x01" and len(data) >= 8, f"pack {self.name}: it does not begin as one")
        k = struct.unpack_from("<H", data, 6)[0]
        need(k <= 1024 and 24 + k + 20 <= len(data), f"pack {self.name}: cut short")
        need(data[8 + k : 24 + k] == handle, f"pack {self.name}: it has another handle than its list says")
        self.data, self.header = data, hashlib.sha256(data[: 24 + k]).digest()
        self.key = HKDF(SHA256(), 32, handle, b"lifeboat/1 pack").derive(run_key(data[8 : 8 + k]))
        self.opened = {}
        length = struct.unpack_from("<I", data, len(data) - 4)[0]
        start = len(data) - 4 - length
        need(start >= 24 + k, f"pack {self.name}: its directory does not fit in it")
        self.frames = self.directory(self.open(DIRECTORY, 2, start, length))
        offset = 24 + k
        for f in self.frames:
            f.insert(0, offset)
            offset += f[2]
        need(offset == start, f"pack {self.name}: its frames do not end where its directory begins")

    def open(self, number, kind, offset, length):
        aad = self.header + struct.pack("<IB", number, kind)
        key = expand(self.key, b"lifeboat/1 frame" + struct.pack("<I", number))
        try:
            return AESGCM(key).decrypt(bytes(12), self.data[offset : offset + length], aad)
        except (InvalidTag, ValueError):
            raise Bad(f"pack {self.name}: frame {number} does not authenticate")

    def directory(self, plain):
        value, rest = cbor(plain, f"pack {self.name}: directory", padded=True)
        need(not any(rest), f"pack {self.name}: its padding is not zero")
        need(isinstance(value, list) and len(value) <= 65536, f"pack {self.name}: directory")
        for f in value:
            need(isinstance(f, list) and list(map(type, f)) == [int] * 3, f"pack {self.name}: directory")
            need(f[0] in (0, 1) and 0 <= f[2] <= 16 * MIB, f"pack {self.name}: a frame of unknown kind or size")
        return value

    def frame(self, number):
        if number not in self.opened:
            need(number < len(self.frames), f"pack {self.name}: no frame {number}")
            offset, kind, sealed, length = self.frames[number]
            plain = self.open(number, kind, offset, sealed)
            if kind == 1:
                try:
                    plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=length)
                except zstandard.ZstdError as e:
                    raise Bad(f"pack {self.name}: frame {number}: {e}")
            need(len(plain) == length, f"pack {self.name}: frame {number} has another length")
            while len(self.opened) >= 32:
                del self.opened[next(iter(self.opened))]
            self.opened[number] = plain
        return self.opened[number]


def cbor(data, what, padded=False):
    """One CBOR item, and what follows it, which must be nothing unless it is padding."""
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream).decode()
    except Exception as e:  # the package raises many kinds
        raise Bad(f"{what}: not CBOR: {e}")
    # The decoder reads ahead: the length of what it decoded is that of its encoding, which writers keep shortest.
    used = len(cbor2.dumps(value))
    need(data[:used] == cbor2.dumps(value), f"{what}: not the shortest encoding")
    need(padded or used == len(data), f"{what}: bytes after its end")
    return value, data[used:]


def references(packs, items, what):
    """References of a page or list, whose packs are numbered."""
    need(isinstance(packs, bytes) and len(packs) % 16 == 0 and isinstance(items, list), f"{what}: malformed")
    out = []
    for r in items:
        need(isinstance(r, list) and len(r) == 5, f"{what}: a malformed reference")
        need(isinstance(r[0], int) and 0 <= r[0] < len(packs) // 16, f"{what}: a reference outside the pack table")
        out.append([packs[16 * r[0] : 16 * r[0] + 16], *r[1:]])
    return out


# A repository: sections 1, 4, 5.


class Repository:
    def __init__(self, folder, cluster, owner):
        if not os.path.isdir(os.path.join(folder, "charter")):
            found = sorted(d for d in os.listdir(folder) if os.path.isdir(os.path.join(folder, d, "charter")))
            if cluster is None:
                need(len(found) == 1, f"{folder} holds {len(found)} clusters; give --cluster")
                cluster = found[0]
            folder = os.path.join(folder, cluster)
        self.folder, self.problems = folder, []
        self.charters = self.trusted_charters(cluster, owner)
        self.charter = self.charters[-1]
        self.snapshots = self.chain()

    def path(self, key):
        return os.path.join(self.folder, key)

    def names(self, folder):
        try:
            return sorted(os.listdir(self.path(folder)))
        except FileNotFoundError:
            return []

    def trusted_charters(self, cluster, owner):
        found = {}
        for name in self.names("charter"):
            match = re.match(r"([1-9][0-9]*)-([0-9a-f]{64})\.json\Z", name)
            try:
                need(match, f"charter/{name}: junk")
                data = read(self.path("charter/" + name), MIB)
                need(sha256(data) == match[2], f"charter/{name}: its bytes do not hash to its name")
                envelope = Envelope(data, "charter", "charter/" + name)
                found.setdefault(envelope.content["n"], {})[envelope.sha256] = envelope
            except (Bad, KeyError, TypeError, AttributeError) as e:
                self.problems.append(str(e))
        chain = []
        while True:
            counts = [e for e in found.get(len(chain) + 1, {}).values() if self.counts(e, chain, cluster, owner)]
            need(len(counts) <= 1, f"two charters with number {len(chain) + 1} count")
            if not counts:
                break
            chain.append(counts[0])
            cluster = counts[0].content["cluster"]
        need(chain, f"no charter is signed by the owner {owner}")
        need(LABEL.match(cluster), f"{cluster!r} is no cluster's name")
        return chain

    @staticmethod
    def counts(envelope, chain, cluster, owner):
        c = envelope.content
        if cluster not in (None, c["cluster"]) or not c["epochs"] or not c["agents"]:
            return False
        if not 1 <= c["threshold"] <= len(c["owners"]):
            return False
        if not chain:
            signed = owner in c["owners"] and envelope.signed_by(owner)
            return c["prev"] is None and signed and envelope.count(c["owners"]) >= c["threshold"]
        before = chain[-1]
        enough = envelope.count(before.content["owners"]) >= before.content["threshold"]
        return c["prev"] == before.sha256 and enough

    def chain(self):
        charter, head, accepted = self.charter.content, None, []
        for name in self.names("manifests"):
            try:
                need(re.match(r"[0-9]{16}\.json\Z", name), f"manifests/{name}: junk")
                envelope = Envelope(read(self.path("manifests/" + name), 16 * MIB), "manifest", "manifests/" + name)
                m = envelope.content
                agent = next((a for a in charter["agents"] if envelope.signed_by(a["key"])), None)
                need(agent, f"manifests/{name}: not signed by an agent of the charter")
                need(m["cluster"] == charter["cluster"], f"manifests/{name}: of another cluster")
                need(m["seq"] == int(name[:16]) > 0, f"manifests/{name}: of another slot")
                need((m["coverage"] == "checkpoint") == (m.get("body") is None), f"manifests/{name}: body")
                before = head and head.sha256
                ended = agent.get("until") is not None and agent["until"] == before
                goes_on = head is not None and head.signer == agent["key"]
                need(not ended and (goes_on or agent.get("from") == before), f"manifests/{name}: rejected branch")
                need(m.get("prev") == before, f"manifests/{name}: does not extend the one before: fork, replay or gap")
                envelope.signer, head = agent["key"], envelope
                accepted.append(envelope)
            except (Bad, KeyError, TypeError, AttributeError) as e:
                self.problems.append(str(e))
        return accepted

    def usable(self):
        gone = {n[17:] for n in self.names("forgotten") if re.match(r"[0-9]{16}-[0-9a-f]{64}\Z", n)}
        stones = {n[:16] for n in self.names("tombstones")}
        for s in self.snapshots:
            m = s.content
            if m["coverage"] != "checkpoint" and s.sha256 not in gone and f"{m['seq']:016}" not in stones:
                yield s

    def find(self, given):
        all_ = list(self.usable())
        if given == "latest":
            full = [s for s in all_ if s.content["coverage"] == "full"]
            need(all_, "there is no snapshot")
            return (full or all_)[-1]
        exact = [s for s in all_ if given.isdigit() and s.content["seq"] == int(given)]
        found = exact or [s for s in all_ if s.content["id"].startswith(given)]
        need(len(found) == 1, f"{len(found)} snapshots match {given!r}")
        return found[0]


class Snapshot:
    """An opened snapshot: sections 6 to 9."""

    def __init__(self, repository, signed, identities, deep):
        self.repository, self.manifest = repository, signed.content
        self.identities, self.deep = identities, deep
        self.epochs, self.run_keys, self.packs, self.entries, self.failures = None, {}, {}, {}, []
        for wanted in self.manifest["packs"]:
            for name, size, handle in self.chosen(wanted):
                known = self.entries.setdefault(handle, (name, size, handle))
                need(known == (name, size, handle), f"handle {handle.hex()} is bound to two packs")
        b = self.manifest["body"]
        body = self.chunk([bytes.fromhex(b["handle"]), b["frame"], b["offset"], b["length"], bytes.fromhex(b["digest"])])
        self.body, _ = cbor(body, "body")
        need(self.body[0] == self.manifest["cluster"], "body: of another cluster")
        need(self.body[1].hex() == self.manifest["id"], "body: of another snapshot")

    def chosen(self, wanted):
        need(HEX32.match(wanted["list"]), "manifest: a malformed list")
        key = "lists/" + wanted["list"]
        data = read(self.repository.path(key), 4 * MIB)
        need(sha256(data) == wanted["list"], f"{key}: its bytes do not hash to its name")
        need(data[:6] == b"LBLS\x01\x01" and len(data) >= 28, f"{key}: it does not begin as a pack list")
        k = struct.unpack_from("<H", data, 22)[0]
        need(k <= 1024 and len(data) >= 28 + k, f"{key}: cut short")
        count = struct.unpack_from("<I", data, 24 + k)[0]
        need(count <= 65536 and len(data) == 28 + k + 56 * count, f"{key}: its count and length do not fit")
        bits = unbase64(wanted["bitmap"], key)
        for i in (i for i in range(8 * len(bits)) if bits[i // 8] >> (i % 8) & 1):
            need(i < count, f"{key}: the manifest needs a pack that it does not have")
            name, size, handle = struct.unpack_from("<32sQ16s", data, 28 + k + 56 * i)
            need(size <= 64 * MIB, f"{key}: a pack over the limit")
            yield name.hex(), size, handle

    def open_epochs(self):
        copies = {}
        for charter in self.repository.charters:
            for e in charter.content["epochs"]:
                copies.setdefault((e["n"], e["recipient"]), []).extend(e["sealed_sha256"])
        out = []
        for (n, recipient), hashes in sorted(copies.items(), reverse=True):
            for name in dict.fromkeys(reversed(hashes)):
                try:
                    need(HEX32.match(name), "a malformed name in the charter")
                    data = read(self.repository.path(f"epochs/{n}-{name}.age"), 64 << 10)
                    need(sha256(data) == name, f"epochs/{n}-{name}.age: its bytes do not hash to its name")
                    identity = pyrage.x25519.Identity.from_str(pyrage.decrypt(data, self.identities).decode().strip())
                    need(str(identity.to_public()) == recipient, f"epoch {n} holds another key than the charter says")
                    out.append(identity)
                    break
                except (Bad, pyrage.DecryptError) as e:
                    self.repository.problems.append(f"epoch {n}: {e}")
        need(out, f"the identity opens none of the {len(copies)} epochs")
        return out

    def run_key(self, sealed):
        if sealed not in self.run_keys:
            if self.epochs is None:
                self.epochs = self.open_epochs()
            for identity in self.epochs:
                try:
                    self.run_keys[sealed] = pyrage.decrypt(sealed, [identity])
                    break
                except pyrage.DecryptError:
                    continue
            need(len(self.run_keys.get(sealed, b"")) == 32, "no epoch opens a run key")
        return self.run_keys[sealed]

    def pack(self, handle):
        if handle not in self.packs:
            need(handle in self.entries, f"handle {handle.hex()} is of no pack that the manifest names")
            name = self.entries[handle][0]
            data = read(self.repository.path(f"packs/{name[:2]}/{name}"), 64 * MIB)
            need(sha256(data) == name, f"pack {name}: its bytes do not hash to its name")
            while len(self.packs) >= 16:
                del self.packs[next(iter(self.packs))]
            self.packs[handle] = Pack(data, self.entries[handle], self.run_key)
        return self.packs[handle]

    def chunk(self, reference):
        handle, frame, offset, length, digest = reference
        plain = self.pack(handle).frame(frame)
        need(offset + length <= len(plain), "a reference leaves its frame")
        piece = plain[offset : offset + length]
        need(blake3.blake3(piece).digest() == digest, "a chunk has another digest than its reference")
        return piece

    def walk(self, reference, level=None, first=None, below=None):
        """Entries (key, inline, references, indirect) of the page that `reference` names, and of what is under it."""
        data = self.chunk(reference)
        need(len(data) <= 320 << 10, "a page over the limit")
        page, _ = cbor(data, "page")
        need(isinstance(page, list) and len(page) == 3 and isinstance(page[0], int), "page: malformed")
        own, packs, entries = page
        need(0 <= own < 8 and level in (None, own), "page: of another level than its parent says")
        keys = [e[0] for e in entries]
        need(all(isinstance(k, bytes) and len(k) <= 16 << 10 for k in keys), "page: malformed key")
        need(all(a < b for a, b in zip(keys, keys[1:])), "page: its keys do not ascend")
        need(first is None or (keys and keys[0] == first), "page: it begins with another key than its parent says")
        need(below is None or not keys or keys[-1] < below, "page: keys beyond its parent's next")
        for i, entry in enumerate(entries):
            if own > 0:
                [child] = references(packs, [entry[1]], "page")
                end = keys[i + 1] if i + 1 < len(keys) else below
                yield from self.walk(child, own - 1, entry[0], end)
                continue
            key, inline, items, indirect = entry
            need(isinstance(inline, bytes) and len(inline) <= 64 << 10, "page: malformed value")
            need(len(items) <= 16 and (not indirect or items), "page: too many references, or none")
            yield key, inline, references(packs, items, "page"), indirect

    def parts(self, named, indirect):
        """The references of a value's chunks."""
        if not indirect:
            return named
        out = []
        for one in named:
            listed, _ = cbor(self.chunk(one), "reference list")
            need(isinstance(listed, list) and len(listed) == 2 and len(listed[1]) <= 200000, "reference list: malformed")
            out += references(listed[0], listed[1], "reference list")
        return out

    def objects(self):
        """(path, JSON) of every object."""
        for domain in self.body[2]:
            kind, namespace, entries = domain[0], domain[1], 0
            if kind > 2:
                continue
            need(kind == 2 or LABEL.match(namespace), f"an unsafe namespace: {namespace!r}")
            seen = set()
            for root in domain[4]:
                for key, inline, named, indirect in self.walk(root):
                    parts = self.parts(named, indirect)
                    value = b"".join(map(self.chunk, parts)) if parts else inline
                    need(key not in seen, "two roots of a domain hold one key")
                    seen.add(key)
                    entries += 1
                    yield object_path("_cluster" if kind == 2 else namespace, key), value
            need(entries == domain[5], f"domain {namespace!r} has {entries} objects, and should have {domain[5]}")

    def volumes(self):
        """(folder, tree) of every domain that holds files."""
        for domain in self.body[2]:
            kind, namespace, name = domain[0], domain[1], domain[2]
            if kind > 2:
                need(kind == 4 or (kind == 3 and LABEL.match(namespace)), f"an unsafe namespace: {namespace!r}")
                need(VOLUME.match(name) and name not in (".", ".."), f"an unsafe volume: {name!r}")
                need(len(domain[4]) <= 1, f"volume {name}: it has several maps")
                folder = f"volumes/{'_paths' if kind == 4 else namespace}/{name}"
                yield folder, Tree(self, folder, domain[4], domain[5])

    def hash_all(self):
        for handle in self.entries:
            pack = self.pack(handle)
            for number in range(len(pack.frames)):
                pack.frame(number)


class Tree:
    """The files of a volume: section 9."""

    def __init__(self, snapshot, folder, roots, entries):
        self.snapshot, self.folder, self.roots, self.count = snapshot, folder, roots, entries

    def entries(self):
        """Every entry, in the order of keys; what cannot be one is a problem of the repository."""
        count = 0
        for root in self.roots:
            for key, inline, named, indirect in self.snapshot.walk(root):
                count += 1
                try:
                    yield Entry(self, key, inline, named, indirect)
                except Bad as e:
                    self.snapshot.failures.append(f"{self.folder}: {e}")
        need(count == self.count, f"{self.folder} has {count} entries, and should have {self.count}")


class Entry:
    """One file, directory, link …; `path` are the components, in bytes."""

    KINDS = ("directory", "file", "symlink", "fifo", "socket", "chardevice", "blockdevice")

    def __init__(self, tree, key, inline, named, indirect):
        self.tree, self.named, self.indirect = tree, named, indirect
        self.path = self.components(key)
        a, _ = cbor(inline, f"attributes of {self.shown()}")
        need(isinstance(a, dict) and list(a)[:1] == [0] and list(a) == sorted(a), f"{self.shown()}: attributes")
        need(a[0] in range(7), f"{self.shown()}: unknown kind")
        self.kind = self.KINDS[a[0]]
        self.mode, self.uid, self.gid = (a.get(n, 0) for n in (1, 2, 3))
        self.seconds, self.nanoseconds, self.size = (a.get(n, 0) for n in (4, 5, 6))
        self.device, self.target, self.link, self.marks = a.get(7), a.get(8), a.get(10), a.get(12, 0)
        pairs = lambda flat: list(zip(flat[::2], flat[1::2]))
        need(len(a.get(9, [])) % 2 == 0 == len(a.get(11, [])) % 2, f"{self.shown()}: half a pair")
        self.xattrs = pairs(a.get(9, []))
        self.extents = pairs(a[11]) if 11 in a else None
        self.check(a)

    @staticmethod
    def components(key):
        if not key:
            return []
        parent, cut, name = key.partition(b"\0\0")
        path = (parent.split(b"\0") if parent else []) + [name]
        good = lambda n: 0 < len(n) <= 1024 and n not in (b".", b"..") and b"/" not in n and b"\0" not in n
        need(cut and all(map(good, path)), f"an unsafe key: {key!r}")
        return path

    def shown(self):
        return "/".join([self.tree.folder] + [repr(n)[2:-1] for n in self.path])

    def check(self, a):
        file, device = self.kind == "file", self.kind.endswith("device")
        need(all(type(a.get(n, 0)) is int for n in (1, 2, 3, 4, 5, 6, 12)), f"{self.shown()}: attributes")
        need(0 <= self.mode < 1 << 12 and 0 <= self.nanoseconds < 10**9, f"{self.shown()}: attributes")
        need(max(self.uid, self.gid) < 1 << 32 and 0 <= self.size < 1 << 63, f"{self.shown()}: attributes")
        need(file or not (self.size or self.named or self.extents is not None), f"{self.shown()}: it is no file")
        need((self.device is not None) == device, f"{self.shown()}: device")
        need((self.target is not None) == (self.kind == "symlink"), f"{self.shown()}: target")
        need(self.target is None or (0 < len(self.target) <= 4096 and b"\0" not in self.target), f"{self.shown()}: target")
        names = [n for n, _ in self.xattrs]
        need(all(x < y for x, y in zip(names, names[1:])), f"{self.shown()}: extended attributes do not ascend")
        need(all(0 < len(n) <= 255 and b"\0" not in n for n in names), f"{self.shown()}: extended attributes")
        need(self.link is None or self.kind != "directory", f"{self.shown()}: a directory with several names")
        end = 0
        for offset, length in self.extents or []:
            need(offset >= end and length > 0 and offset + length <= self.size, f"{self.shown()}: extents")
            end = offset + length

    def pieces(self):
        """(offset, bytes) of the content, holes left out."""
        parts = self.tree.snapshot.parts(self.named, self.indirect)
        extents = [(0, self.size)] if self.extents is None else list(self.extents)
        need(sum(p[3] for p in parts) == sum(n for _, n in extents), f"{self.shown()}: its chunks are not of its size")
        for part in parts:
            data = self.tree.snapshot.chunk(part)
            while data:
                (offset, length), *extents = extents
                yield offset, data[:length]
                if len(data) < length:
                    extents.insert(0, (offset + len(data), length - len(data)))
                data = data[length:]

    def same_file(self):
        """What names of one file share."""
        digests = tuple(p[4] for p in self.tree.snapshot.parts(self.named, self.indirect))
        return self.link, self.kind, self.size, self.seconds, self.nanoseconds, digests


class Writer:
    """Makes a tree below a folder that it makes itself. What it makes stands in folders that it made: nothing that was
    there, and no link out of the tree, is ever followed or replaced."""

    def __init__(self, tree, to, devices):
        self.tree, self.devices, self.links, self.made = tree, devices, {}, {()}
        self.folders, self.parent, self.failures = [], None, tree.snapshot.failures
        top = os.path.join(to, tree.folder)
        os.makedirs(os.path.dirname(top), exist_ok=True)
        os.mkdir(top, 0o700)
        self.root = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    def write(self):
        for entry in self.tree.entries():
            try:
                self.one(entry)
            except (Bad, OSError) as e:
                self.failures.append(f"{entry.shown()}: {e}")
        if self.parent is not None:
            os.close(self.parent[1])
        # Last, because what is made in a folder changes its time, and its mode may forbid it; the deepest first.
        for entry in reversed(self.folders):
            fd = self.folder(tuple(entry.path))
            self.attributes(entry, b"/proc/self/fd/%d" % fd, follow=True)
            os.close(fd)
        os.close(self.root)

    def folder(self, path):
        """An open folder of the tree."""
        fd = os.dup(self.root)
        for name in path:
            try:
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def one(self, entry):
        if not entry.path:
            need(entry.kind == "directory", "the root of a tree is no directory")
            self.folders.append(entry)
            return
        parent, name = tuple(entry.path[:-1]), entry.path[-1]
        need(parent in self.made, "its parent was not made")
        if self.parent is None or self.parent[0] != parent:
            fd = self.folder(parent)
            if self.parent is not None:
                os.close(self.parent[1])
            self.parent = (parent, fd)
        self.make(entry, name, self.parent[1])

    def make(self, entry, name, fd):
        if entry.kind.endswith("device") and not self.devices:
            return
        if entry.link is not None:
            first = self.links.setdefault(entry.same_file(), entry.path)
            if first is not entry.path:
                source = self.folder(tuple(first[:-1]))
                try:
                    os.link(first[-1], name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
                finally:
                    os.close(source)
                return
        path = b"/proc/self/fd/%d/" % fd + name
        if entry.kind == "directory":
            os.mkdir(name, 0o700, dir_fd=fd)
            self.made.add(tuple(entry.path))
            self.folders.append(entry)
            return
        if entry.kind == "file":
            self.file(entry, name, fd)
        elif entry.kind == "symlink":
            os.symlink(entry.target, name, dir_fd=fd)
        elif entry.kind == "fifo":
            os.mkfifo(name, 0o600, dir_fd=fd)
        elif entry.kind == "socket":
            os.mknod(name, stat.S_IFSOCK | 0o600, dir_fd=fd)
        else:
            kind = stat.S_IFCHR if entry.kind == "chardevice" else stat.S_IFBLK
            os.mknod(name, kind | 0o600, os.makedev(*entry.device), dir_fd=fd)
        self.attributes(entry, path, follow=False)

    def file(self, entry, name, fd):
        out = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=fd)
        try:
            for offset, data in entry.pieces():
                while data:
                    written = os.pwrite(out, data, offset)
                    offset, data = offset + written, data[written:]
            os.ftruncate(out, entry.size)
        except (Bad, OSError):
            os.unlink(name, dir_fd=fd)
            raise
        finally:
            os.close(out)

    def attributes(self, entry, path, follow):
        """Owner first, because it takes capabilities and set-id bits away; times last."""
        steps = [lambda: os.chown(path, entry.uid, entry.gid, follow_symlinks=follow)]
        for key, value in entry.xattrs:
            steps.append(lambda k=key, v=value: os.setxattr(path, k, v, follow_symlinks=follow))
        if entry.kind != "symlink":
            steps.append(lambda: os.chmod(path, entry.mode))
        time = entry.seconds * 10**9 + entry.nanoseconds
        steps.append(lambda: os.utime(path, ns=(time, time), follow_symlinks=follow))
        for step in steps:
            try:
                step()
            except OSError as e:
                self.failures.append(f"{entry.shown()}: {e}")


def object_path(folder, key):
    try:
        parts = key.decode("utf-8").split("\0", 1)
    except UnicodeDecodeError:
        raise Bad(f"an unsafe key: {key!r}")
    need(len(parts) == 2, f"an unsafe key: {key!r}")
    for part in parts:
        control = any(ord(c) < 32 or 127 <= ord(c) < 160 for c in part)
        safe = part not in ("", ".", "..") and "/" not in part and len(part.encode()) <= 1024
        need(safe and not control, f"an unsafe key: {key!r}")
    return f"objects/{folder}/{shorten(parts[0])}/{shorten(parts[1])}.json"


def shorten(part):
    raw = part.encode()
    if len(raw) <= 250:
        return part
    return raw[:233].decode("utf-8", "ignore") + "~" + sha256(raw)[:16]


# The command line.


def identities(path):
    text = read(path, MIB).decode()
    owner = next((line[9:].strip() for line in text.splitlines() if line.startswith("# owner: ")), None)
    lines = [line for line in text.splitlines() if line.startswith("AGE-SECRET-KEY-1")]
    need(lines, f"{path} holds no identity")
    return [pyrage.x25519.Identity.from_str(line) for line in lines], owner


def write_new(folder, path, data):
    target = os.path.join(folder, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "xb") as f:
        f.write(data)


def show_list(repository, as_json):
    rows = [
        {k: s.content[k] for k in ("seq", "id", "finished", "coverage", "result")} | {"manifest": s.sha256}
        for s in repository.usable()
    ]
    if as_json:
        print(json.dumps({"snapshots": rows, "problems": repository.problems}, indent=2))
        return
    for r in rows:
        print(f"{r['seq']:>6}  {r['id'][:12]}  {r['finished']}  {r['coverage']:<8}  {r['result']}")


def run(arguments):
    known, owner = (None, None)
    if arguments.identity:
        known, owner = identities(arguments.identity)
    owner = arguments.owner or owner
    need(owner, "no owner: give --owner, or an identity file that names one")
    repository = Repository(arguments.repo, arguments.cluster, owner)
    if arguments.command == "list":
        show_list(repository, arguments.json)
    else:
        need(known, "give --identity")
        snapshot = Snapshot(repository, repository.find(arguments.snapshot), known, arguments.deep)
        hashes = {}
        for path, value in snapshot.objects():
            if arguments.command == "extract":
                write_new(arguments.to, path, value)
            elif arguments.json:
                hashes[path] = sha256(value)
            else:
                sys.stdout.buffer.write(path.encode() + b"\t" + value + b"\n")
        for folder, tree in snapshot.volumes():
            if arguments.command == "extract":
                Writer(tree, arguments.to, arguments.devices).write()
                continue
            for entry in tree.entries():
                value = b"".join(data for _, data in entry.pieces()) if entry.kind == "file" else b""
                path = entry.shown()
                if arguments.json:
                    hashes[path] = sha256(value)
                else:
                    sys.stdout.buffer.write(path.encode() + b"\t" + value + b"\n")
        if arguments.deep:
            snapshot.hash_all()
        if arguments.json:
            print(json.dumps(hashes, indent=2, sort_keys=True))
        repository.problems += snapshot.failures
    for problem in repository.problems:
        print(f"warning: {problem}", file=sys.stderr)
    if arguments.command != "list":
        need(not snapshot.failures, f"{len(snapshot.failures)} things could not be read or made")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["list", "dump", "extract"])
    parser.add_argument("repo")
    parser.add_argument("snapshot", nargs="?", default="latest")
    parser.add_argument("--owner", help="ed25519:…")
    parser.add_argument("--cluster")
    parser.add_argument("--identity", help="age identity file, in clear")
    parser.add_argument("--to", help="folder to extract into; files in it are never replaced")
    parser.add_argument("--devices", action="store_true", help="extract: make device nodes too")
    parser.add_argument("--deep", action="store_true", help="open every frame of every pack the snapshot needs")
    parser.add_argument("--json", action="store_true", help="list: JSON; dump: SHA-256 by path")
    arguments = parser.parse_args()
    if arguments.command == "extract" and not arguments.to:
        parser.error("extract needs --to")
    try:
        run(arguments)
    except (Bad, OSError, LookupError, TypeError, ValueError, AttributeError, struct.error) as e:
        print(f"error: {type(e).__name__ + ': ' if not isinstance(e, Bad) else ''}{e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
