//! One page: its encoding, and its parser.

use crate::id::{Digest, Handle};
use crate::pack::Reference;
use crate::{FormatError, Result, limits};
use minicbor::{Decoder, Encoder};
use std::collections::HashMap;

type Writer = Vec<u8>;
const INFALLIBLE: &str = "writing to memory does not fail";

/// A leaf entry, borrowed from its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    pub key: &'a [u8],
    /// The value, or what describes it.
    pub inline: &'a [u8],
    /// The value's chunks, in order.
    pub references: Vec<Reference>,
    /// `references` are of chunks that hold lists of the value's chunks ([`parse_references`]), one after the other.
    pub indirect: bool,
}

/// A parsed page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page<'a> {
    Leaf(Vec<Entry<'a>>),
    /// (first key, page); `level` counts down to 1.
    Inner {
        level: u8,
        children: Vec<(&'a [u8], Reference)>,
    },
}

impl<'a> Page<'a> {
    /// Parses a page; keys strictly ascend.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > limits::PAGE_MAX + limits::INLINE_MAX {
            return Err(FormatError::too_large("page", "over the limit"));
        }
        parse(bytes).map_err(|e| FormatError::malformed("page", e.to_string())).and_then(|page| {
            if page.ascends() {
                Ok(page)
            } else {
                Err(FormatError::malformed("page", "its keys do not ascend"))
            }
        })
    }

    /// The smallest key.
    #[must_use]
    pub fn first_key(&self) -> Option<&'a [u8]> {
        match self {
            Self::Leaf(entries) => entries.first().map(|e| e.key),
            Self::Inner { children, .. } => children.first().map(|c| c.0),
        }
    }

    fn ascends(&self) -> bool {
        match self {
            Self::Leaf(entries) => entries.windows(2).all(|w| w[0].key < w[1].key),
            Self::Inner { children, .. } => children.windows(2).all(|w| w[0].0 < w[1].0),
        }
    }
}

type Cbor<T> = std::result::Result<T, minicbor::decode::Error>;

fn refuse<T>(why: &'static str) -> Cbor<T> {
    Err(minicbor::decode::Error::message(why))
}

fn array(d: &mut Decoder<'_>, len: u64) -> Cbor<()> {
    if d.array()? == Some(len) { Ok(()) } else { refuse("an array of another length") }
}

fn parse(bytes: &[u8]) -> Cbor<Page<'_>> {
    let mut d = Decoder::new(bytes);
    array(&mut d, 3)?;
    let level = d.u8()?;
    if usize::from(level) >= limits::MAP_DEPTH_MAX {
        return refuse("too deep");
    }
    let packs = pack_table(d.bytes()?)?;
    let count = d.array()?;
    // An entry has at least 3 bytes: a longer count is a lie, and nothing is reserved for it.
    let count = count.filter(|&c| c <= bytes.len() as u64 / 3);
    let Some(count) = count else { return refuse("a count beyond the page") };
    let page = if level == 0 {
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(leaf_entry(&mut d, &packs)?);
        }
        Page::Leaf(entries)
    } else {
        let mut children = Vec::new();
        for _ in 0..count {
            array(&mut d, 2)?;
            children.push((key(&mut d)?, reference(&mut d, &packs)?));
        }
        Page::Inner { level, children }
    };
    if d.position() == bytes.len() { Ok(page) } else { refuse("bytes after its end") }
}

pub(crate) fn pack_table(bytes: &[u8]) -> Cbor<Vec<Handle>> {
    let (handles, rest) = bytes.as_chunks::<16>();
    if rest.is_empty() {
        Ok(handles.iter().map(|h| Handle(*h)).collect())
    } else {
        refuse("a cut pack table")
    }
}

fn key<'a>(d: &mut Decoder<'a>) -> Cbor<&'a [u8]> {
    let key = d.bytes()?;
    if key.len() <= limits::KEY_MAX { Ok(key) } else { refuse("a key over the limit") }
}

fn leaf_entry<'a>(d: &mut Decoder<'a>, packs: &[Handle]) -> Cbor<Entry<'a>> {
    array(d, 4)?;
    let key = key(d)?;
    let inline = d.bytes()?;
    let references = references(d, packs, limits::VALUE_CHUNKS_MAX)?;
    let indirect = d.bool()?;
    if indirect && references.is_empty() {
        return refuse("an indirect entry without a list");
    }
    Ok(Entry { key, inline, references, indirect })
}

pub(crate) fn references(d: &mut Decoder<'_>, packs: &[Handle], max: usize) -> Cbor<Vec<Reference>> {
    let count = d.array()?.filter(|&c| c <= max as u64);
    let Some(count) = count else { return refuse("too many references") };
    let mut out = Vec::new();
    for _ in 0..count {
        out.push(reference(d, packs)?);
    }
    Ok(out)
}

fn reference(d: &mut Decoder<'_>, packs: &[Handle]) -> Cbor<Reference> {
    array(d, 5)?;
    let index = d.u32()? as usize;
    let Some(handle) = packs.get(index).copied() else { return refuse("a reference outside the pack table") };
    let (frame, offset, length) = (d.u32()?, d.u32()?, d.u32()?);
    let digest: Digest = d.decode()?;
    Ok(Reference { handle, frame, offset, length, digest })
}

/// Parses one list of an indirect entry: `[packs, references]`.
pub fn parse_references(bytes: &[u8]) -> Result<Vec<Reference>> {
    let parse = || {
        let mut d = Decoder::new(bytes);
        array(&mut d, 2)?;
        let packs = pack_table(d.bytes()?)?;
        let all = references(&mut d, &packs, limits::LIST_REFERENCES_MAX.min(bytes.len() / 36))?;
        if d.position() == bytes.len() { Ok(all) } else { refuse("bytes after its end") }
    };
    parse().map_err(|e: minicbor::decode::Error| FormatError::malformed("reference list", e.to_string()))
}

/// The handles that a page or list points into, in order of first use.
#[derive(Debug, Default)]
pub(crate) struct PackTable {
    handles: Vec<Handle>,
    places: HashMap<Handle, u32>,
}

impl PackTable {
    fn index(&mut self, handle: Handle) -> u32 {
        // Neighbors are mostly in one pack.
        if let Some(last) = self.handles.last()
            && *last == handle
        {
            return u32::try_from(self.handles.len() - 1).expect("a page has fewer references than 2^32");
        }
        let next = u32::try_from(self.handles.len()).expect("a page has fewer references than 2^32");
        *self.places.entry(handle).or_insert_with(|| {
            self.handles.push(handle);
            next
        })
    }
    pub(crate) fn len(&self) -> usize {
        self.handles.len()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.handles.iter().flat_map(|h| h.0).collect()
    }
}

pub(crate) fn encode_reference(out: &mut Writer, packs: &mut PackTable, r: &Reference) {
    let mut e = Encoder::new(out);
    e.array(5).expect(INFALLIBLE);
    e.u32(packs.index(r.handle)).expect(INFALLIBLE);
    e.u32(r.frame).expect(INFALLIBLE).u32(r.offset).expect(INFALLIBLE).u32(r.length).expect(INFALLIBLE);
    e.bytes(&r.digest.0).expect(INFALLIBLE);
}

pub(super) fn encode_leaf_entry(out: &mut Writer, packs: &mut PackTable, entry: &Entry<'_>) {
    let mut e = Encoder::new(&mut *out);
    e.array(4).expect(INFALLIBLE).bytes(entry.key).expect(INFALLIBLE).bytes(entry.inline).expect(INFALLIBLE);
    e.array(entry.references.len() as u64).expect(INFALLIBLE);
    for r in &entry.references {
        encode_reference(out, packs, r);
    }
    Encoder::new(out).bool(entry.indirect).expect(INFALLIBLE);
}

pub(super) fn encode_inner_entry(
    out: &mut Writer,
    packs: &mut PackTable,
    first_key: &[u8],
    child: &Reference,
) {
    Encoder::new(&mut *out).array(2).expect(INFALLIBLE).bytes(first_key).expect(INFALLIBLE);
    encode_reference(out, packs, child);
}

/// Puts the head before entries that were encoded one by one.
pub(super) fn encode_page(level: u8, packs: &PackTable, count: usize, entries: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::with_capacity(entries.len() + packs.handles.len() * 16 + 16));
    e.array(3).expect(INFALLIBLE).u8(level).expect(INFALLIBLE).bytes(&packs.bytes()).expect(INFALLIBLE);
    e.array(count as u64).expect(INFALLIBLE);
    let mut out = e.into_writer();
    out.extend_from_slice(entries);
    out
}

/// One list of an indirect entry.
pub(super) fn encode_references(all: &[Reference]) -> Vec<u8> {
    let mut packs = PackTable::default();
    let mut body = Vec::new();
    for r in all {
        encode_reference(&mut body, &mut packs, r);
    }
    let mut e = Encoder::new(Vec::new());
    e.array(2)
        .expect(INFALLIBLE)
        .bytes(&packs.bytes())
        .expect(INFALLIBLE)
        .array(all.len() as u64)
        .expect(INFALLIBLE);
    let mut out = e.into_writer();
    out.extend_from_slice(&body);
    out
}
