//! One segment: its encoding, parser and seal.
//!
//! `[packs, [* [directory, [* record]]]]`, with `packs` and references as in a page; a record is
//! `[name, fingerprint, flags, extents or null, references, lists]`, its extents flat.

use super::{DirectoryPart, RECORD_REFERENCES_MAX, Record};
use crate::crypto::derive::Secret32;
use crate::id::{Handle, PathHash};
use crate::send_log::{open_plain, seal_plain};
use crate::sorted_map::{PackTable, encode_reference, pack_table, references};
use crate::tree::EXTENTS_MAX;
use crate::{FormatError, Result, limits};
use minicbor::{Decoder, Encoder};

const MAGIC: &[u8; 6] = b"LBLV\x01\x01";
const INFALLIBLE: &str = "writing to memory does not fail";

type Cbor<T> = std::result::Result<T, minicbor::decode::Error>;

/// Seals the plaintext of a cut segment, under a random key of its own.
#[must_use]
pub fn seal_segment(key: &Secret32, plain: &[u8]) -> Vec<u8> {
    seal_plain(MAGIC, key, plain)
}

/// Opens and parses a segment.
///
/// # Errors
/// Over the limit, of another kind, or sealed under another key.
pub fn open_segment(key: &Secret32, sealed: &[u8]) -> Result<Vec<DirectoryPart>> {
    parse_segment(&open_plain(MAGIC, key, sealed)?)
}

/// Parses the plaintext of a segment.
///
/// # Errors
/// Where it is none.
pub fn parse_segment(plain: &[u8]) -> Result<Vec<DirectoryPart>> {
    parse(plain).map_err(|e| FormatError::malformed("volume log", e.to_string()))
}

fn parse(plain: &[u8]) -> Cbor<Vec<DirectoryPart>> {
    let mut d = Decoder::new(plain);
    length(&mut d, 2)?;
    let packs = pack_table(d.bytes()?)?;
    // A directory has at least 19 bytes, a record 38: a longer count is a lie, and nothing is reserved for it.
    let directories = count(&mut d, plain.len() / 19)?;
    let mut out = Vec::new();
    for _ in 0..directories {
        length(&mut d, 2)?;
        let directory: PathHash = d.decode()?;
        let records = count(&mut d, plain.len() / 38)?;
        let records: Cbor<Vec<Record>> = (0..records).map(|_| record(&mut d, &packs)).collect();
        out.push(DirectoryPart { directory, records: records? });
    }
    if d.position() == plain.len() { Ok(out) } else { Err(refused("bytes after its end")) }
}

fn record(d: &mut Decoder<'_>, packs: &[Handle]) -> Cbor<Record> {
    length(d, 6)?;
    Ok(Record {
        name: d.decode()?,
        fingerprint: d.decode()?,
        flags: d.u8()?,
        extents: extents(d)?,
        references: references(d, packs, RECORD_REFERENCES_MAX)?,
        lists: references(d, packs, limits::VALUE_CHUNKS_MAX)?,
    })
}

fn extents(d: &mut Decoder<'_>) -> Cbor<Option<Vec<(u64, u64)>>> {
    if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        return Ok(None);
    }
    let numbers = count(d, EXTENTS_MAX * 2)?;
    if numbers % 2 != 0 {
        return Err(refused("half an extent"));
    }
    (0..numbers / 2).map(|_| Ok((d.u64()?, d.u64()?))).collect::<Cbor<Vec<_>>>().map(Some)
}

fn refused(why: &'static str) -> minicbor::decode::Error {
    minicbor::decode::Error::message(why)
}

fn length(d: &mut Decoder<'_>, len: u64) -> Cbor<()> {
    if d.array()? == Some(len) { Ok(()) } else { Err(refused("an array of another length")) }
}

fn count(d: &mut Decoder<'_>, max: usize) -> Cbor<u64> {
    d.array()?.filter(|&c| c <= max as u64).ok_or_else(|| refused("a count beyond the segment"))
}

/// Appends a record that has at most [`RECORD_REFERENCES_MAX`] references.
pub(super) fn encode_record(
    out: &mut Vec<u8>,
    packs: &mut PackTable,
    r: &Record,
    flags: u8,
    references: &[crate::pack::Reference],
    first: bool,
) {
    let mut e = Encoder::new(&mut *out);
    e.array(6).and_then(|e| e.bytes(&r.name.0)).and_then(|e| e.bytes(&r.fingerprint.0)).expect(INFALLIBLE);
    e.u8(flags).expect(INFALLIBLE);
    match r.extents.as_ref().filter(|_| first) {
        None => drop(e.null().expect(INFALLIBLE)),
        Some(extents) => {
            e.array(extents.len() as u64 * 2).expect(INFALLIBLE);
            for (offset, length) in extents {
                e.u64(*offset).and_then(|e| e.u64(*length)).expect(INFALLIBLE);
            }
        }
    }
    for list in [references, if first { r.lists.as_slice() } else { &[] }] {
        Encoder::new(&mut *out).array(list.len() as u64).expect(INFALLIBLE);
        for reference in list {
            encode_reference(out, packs, reference);
        }
    }
}

/// Appends `[directory, [* record]]` around `count` encoded records.
pub(super) fn encode_directory(out: &mut Vec<u8>, directory: &PathHash, count: u64, records: &[u8]) {
    let mut e = Encoder::new(&mut *out);
    e.array(2).and_then(|e| e.bytes(&directory.0)).and_then(|e| e.array(count)).expect(INFALLIBLE);
    out.extend_from_slice(records);
}

/// The plaintext around encoded directories.
pub(super) fn encode_segment(packs: &PackTable, directories: u64, body: &[u8]) -> Vec<u8> {
    let table = packs.bytes();
    let mut e = Encoder::new(Vec::with_capacity(body.len() + table.len() + 16));
    e.array(2).and_then(|e| e.bytes(&table)).and_then(|e| e.array(directories)).expect(INFALLIBLE);
    let mut out = e.into_writer();
    out.extend_from_slice(body);
    out
}
