//! What a tree says of an entry beside its name and content: a CBOR map with integer keys, shortest form. What is
//! zero or absent is left out; nothing in it depends on when or by which run it was written.

use super::{EXTENTS_MAX, TARGET_MAX, XATTR_NAME_MAX};
use crate::{FormatError, Result, limits};
use minicbor::{Decoder, Encoder};

const WHAT: &str = "attributes of a file";
const INFALLIBLE: &str = "writing to memory does not fail";
const MODE_MAX: u32 = 0o7777;
const NANOS: u32 = 1_000_000_000;
/// The largest size or offset that a file system knows.
const SIZE_MAX: u64 = i64::MAX as u64;

/// A bit of [`Attributes::marks`]: the file kept changing while it was read, so its content may be of several moments.
pub const CHANGING: u8 = 1;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum NodeKind {
    #[default]
    Directory = 0,
    File = 1,
    Symlink = 2,
    Fifo = 3,
    Socket = 4,
    CharDevice = 5,
    BlockDevice = 6,
}

impl NodeKind {
    fn from_number(n: u8) -> Option<Self> {
        use NodeKind::{BlockDevice, CharDevice, Directory, Fifo, File, Socket, Symlink};
        [Directory, File, Symlink, Fifo, Socket, CharDevice, BlockDevice].get(usize::from(n)).copied()
    }

    #[must_use]
    pub fn is_device(self) -> bool {
        matches!(self, Self::CharDevice | Self::BlockDevice)
    }
}

/// Attributes of one entry. Fields that its kind does not have are neither written nor read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    pub kind: NodeKind,
    /// The 12 permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime_s: i64,
    /// Below 10⁹.
    pub mtime_ns: u32,
    /// Bytes, holes included. Files only.
    pub size: u64,
    /// Major and minor number. Devices only, and all devices.
    pub rdev: Option<(u32, u32)>,
    /// Where it points, not empty, without NUL. Symbolic links only, and all of them.
    pub target: Option<Vec<u8>>,
    /// Extended attributes (ACLs and capabilities among them), by name, strictly ascending.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Inode number, where the entry has several names; never of a directory.
    pub link: Option<u64>,
    /// Data extents (offset, length) of a sparse file: ascending, apart, not empty, within `size`; the content is
    /// their bytes one after another. Absent: all of it is data.
    pub extents: Option<Vec<(u64, u64)>>,
    /// [`CHANGING`]; other bits are zero.
    pub marks: u8,
}

impl Attributes {
    /// Bytes that the entry's chunks hold together.
    #[must_use]
    pub fn content_len(&self) -> u64 {
        match &self.extents {
            Some(extents) => extents.iter().map(|(_, length)| length).sum(),
            None => self.size,
        }
    }

    /// Parses the `inline` of a tree's entry. Keys that it does not know are passed over.
    ///
    /// # Errors
    /// Over [`limits::INLINE_MAX`], not the encoding of attributes, or values that no entry of its kind can have.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > limits::INLINE_MAX {
            return Err(FormatError::too_large(WHAT, "more than a page takes"));
        }
        let parsed = parse(bytes).map_err(|e| FormatError::malformed(WHAT, e.to_string()))?;
        parsed.check().map_err(|why| FormatError::malformed(WHAT, why))?;
        Ok(parsed)
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        let file = self.kind == NodeKind::File;
        let xattr = |(name, value): &(Vec<u8>, Vec<u8>)| {
            !name.is_empty()
                && name.len() <= XATTR_NAME_MAX
                && !name.contains(&0)
                && value.len() <= limits::INLINE_MAX
        };
        let target = |t: &Vec<u8>| !t.is_empty() && t.len() <= TARGET_MAX && !t.contains(&0);
        let checks = [
            (self.mode <= MODE_MAX, "a mode of more than 12 bits"),
            (self.mtime_ns < NANOS, "a second of more than 10^9 nanoseconds"),
            (self.size <= SIZE_MAX && (file || self.size == 0), "a size that its kind cannot have"),
            (self.rdev.is_some() == self.kind.is_device(), "a device number that its kind does not have"),
            (
                self.target.is_some() == (self.kind == NodeKind::Symlink),
                "a target that its kind does not have",
            ),
            (self.target.as_ref().is_none_or(target), "a target that no link can have"),
            (self.link.is_none() || self.kind != NodeKind::Directory, "a directory with several names"),
            (self.xattrs.iter().all(xattr), "an extended attribute that no file system takes"),
            (self.xattrs.windows(2).all(|w| w[0].0 < w[1].0), "extended attributes that do not ascend"),
            (self.extents.is_none() || file, "extents that its kind does not have"),
            (self.extents.as_ref().is_none_or(|e| extents_fit(e, self.size)), "extents that do not fit"),
            (self.marks & !CHANGING == 0, "unknown marks"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err(why))
    }
}

fn extents_fit(extents: &[(u64, u64)], size: u64) -> bool {
    let mut end = 0;
    extents.len() <= EXTENTS_MAX
        && extents.iter().all(|&(offset, length)| {
            let fits = offset >= end && length > 0;
            end = offset.saturating_add(length);
            fits && end <= size
        })
}

/// Appends the encoding of `a` to `out`. Fields that its kind does not have are left out.
///
/// # Errors
/// Where the result would be over [`limits::INLINE_MAX`] (extended attributes of more than that) or
/// [`Attributes::parse`] would refuse it; `out` is then as it was.
pub fn encode_attributes(a: &Attributes, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    let kept = Kept::of(a);
    kept.check(a).map_err(|why| FormatError::malformed(WHAT, why))?;
    kept.encode(a, out);
    if out.len() - before > limits::INLINE_MAX {
        out.truncate(before);
        return Err(FormatError::too_large(WHAT, "more than a page takes"));
    }
    Ok(())
}

/// Which fields the kind has.
struct Kept<'a> {
    size: u64,
    rdev: Option<(u32, u32)>,
    target: Option<&'a [u8]>,
    link: Option<u64>,
    extents: Option<&'a [(u64, u64)]>,
}

impl<'a> Kept<'a> {
    fn of(a: &'a Attributes) -> Self {
        let file = a.kind == NodeKind::File;
        Self {
            size: if file { a.size } else { 0 },
            rdev: a.rdev.filter(|_| a.kind.is_device()),
            target: a.target.as_deref().filter(|_| a.kind == NodeKind::Symlink),
            link: a.link.filter(|_| a.kind != NodeKind::Directory),
            extents: a.extents.as_deref().filter(|_| file),
        }
    }

    /// What parsing would refuse, on what is written.
    fn check(&self, a: &Attributes) -> std::result::Result<(), &'static str> {
        let exact = self.size == a.size
            && self.rdev == a.rdev
            && self.target == a.target.as_deref()
            && self.link == a.link
            && self.extents == a.extents.as_deref();
        if exact {
            return a.check();
        }
        Attributes {
            size: self.size,
            rdev: self.rdev,
            target: self.target.map(<[u8]>::to_vec),
            link: self.link,
            extents: self.extents.map(<[_]>::to_vec),
            ..a.clone()
        }
        .check()
    }

    fn encode(&self, a: &Attributes, out: &mut Vec<u8>) {
        let mut w = Fields { count: 0, at: out.len(), e: Encoder::new(out) };
        w.e.map(15).expect(INFALLIBLE);
        w.number(0, u64::from(a.kind as u8), true);
        w.number(1, u64::from(a.mode), false);
        w.number(2, u64::from(a.uid), false);
        w.number(3, u64::from(a.gid), false);
        if a.mtime_s != 0 {
            w.key(4).i64(a.mtime_s).expect(INFALLIBLE);
        }
        w.number(5, u64::from(a.mtime_ns), false);
        w.number(6, self.size, false);
        if let Some((major, minor)) = self.rdev {
            w.key(7).array(2).and_then(|e| e.u32(major)).and_then(|e| e.u32(minor)).expect(INFALLIBLE);
        }
        if let Some(target) = self.target {
            w.key(8).bytes(target).expect(INFALLIBLE);
        }
        if !a.xattrs.is_empty() {
            let e = w.key(9);
            e.array(a.xattrs.len() as u64 * 2).expect(INFALLIBLE);
            for (name, value) in &a.xattrs {
                e.bytes(name).and_then(|e| e.bytes(value)).expect(INFALLIBLE);
            }
        }
        if let Some(link) = self.link {
            w.key(10).u64(link).expect(INFALLIBLE);
        }
        if let Some(extents) = self.extents {
            let e = w.key(11);
            e.array(extents.len() as u64 * 2).expect(INFALLIBLE);
            for (offset, length) in extents {
                e.u64(*offset).and_then(|e| e.u64(*length)).expect(INFALLIBLE);
            }
        }
        w.number(12, u64::from(a.marks), false);
        w.finish();
    }
}

/// A map whose length is put in last.
struct Fields<'a> {
    count: u8,
    at: usize,
    e: Encoder<&'a mut Vec<u8>>,
}

impl<'a> Fields<'a> {
    fn key(&mut self, key: u8) -> &mut Encoder<&'a mut Vec<u8>> {
        self.count += 1;
        self.e.u8(key).expect(INFALLIBLE)
    }

    fn number(&mut self, key: u8, value: u64, always: bool) {
        if always || value != 0 {
            self.key(key).u64(value).expect(INFALLIBLE);
        }
    }

    /// A map of fewer than 24 pairs has a head of one byte: major type 5 and the count.
    fn finish(self) {
        self.e.into_writer()[self.at] = 0xa0 | self.count;
    }
}

type Cbor<T> = std::result::Result<T, minicbor::decode::Error>;

fn refuse<T>(why: &'static str) -> Cbor<T> {
    Err(minicbor::decode::Error::message(why))
}

fn parse(bytes: &[u8]) -> Cbor<Attributes> {
    let mut d = Decoder::new(bytes);
    let Some(count) = d.map()? else { return refuse("a map without a length") };
    let mut a = Attributes::default();
    let mut last = None;
    for _ in 0..count {
        let key = d.u32()?;
        if last.is_none() != (key == 0) || last.is_some_and(|last| last >= key) {
            return refuse("keys that do not ascend from 0");
        }
        last = Some(key);
        field(&mut d, key, &mut a)?;
    }
    if last.is_none() {
        return refuse("no kind");
    }
    if d.position() == bytes.len() { Ok(a) } else { refuse("bytes after its end") }
}

fn field(d: &mut Decoder<'_>, key: u32, a: &mut Attributes) -> Cbor<()> {
    match key {
        0 => match NodeKind::from_number(d.u8()?) {
            Some(kind) => a.kind = kind,
            None => return refuse("an unknown kind"),
        },
        1 => a.mode = d.u32()?,
        2 => a.uid = d.u32()?,
        3 => a.gid = d.u32()?,
        4 => a.mtime_s = d.i64()?,
        5 => a.mtime_ns = d.u32()?,
        6 => a.size = d.u64()?,
        7 if d.array()? == Some(2) => a.rdev = Some((d.u32()?, d.u32()?)),
        7 => return refuse("a device number of other parts"),
        8 => a.target = Some(d.bytes()?.to_vec()),
        9 => {
            let pairs = pairs(d, limits::INLINE_MAX)?;
            for _ in 0..pairs {
                a.xattrs.push((d.bytes()?.to_vec(), d.bytes()?.to_vec()));
            }
        }
        10 => a.link = Some(d.u64()?),
        11 => {
            let pairs = pairs(d, EXTENTS_MAX)?;
            let extents: Cbor<Vec<_>> = (0..pairs).map(|_| Ok((d.u64()?, d.u64()?))).collect();
            a.extents = Some(extents?);
        }
        12 => a.marks = d.u8()?,
        _ => d.skip()?,
    }
    Ok(())
}

/// The length of an array of pairs, flat.
fn pairs(d: &mut Decoder<'_>, max: usize) -> Cbor<u64> {
    match d.array()? {
        Some(n) if n % 2 == 0 && n / 2 <= max as u64 => Ok(n / 2),
        _ => refuse("too many pairs, or half of one"),
    }
}
