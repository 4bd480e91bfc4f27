//! What worker and command say to each other (CBOR, RFC 8949). Pure. Version 1; the worker says its own first.

use super::frame::FRAME_MAX;
use lifeboat_format::id::Sha256;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// Of this protocol.
pub const VERSION: u32 = 1;
/// The most that one message carries of a grant or of a pack, bytes.
pub const PART_MAX: usize = 1 << 20;
/// Requests that a worker may have under way.
pub const READS_MAX: usize = 64;

const _: () = assert!(PART_MAX < FRAME_MAX);

/// Said by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FromWorker {
    /// The first word.
    #[n(0)]
    Hello {
        #[n(0)]
        version: u32,
        /// An age X25519 recipient, made for this connection.
        #[n(1)]
        recipient: String,
        /// Of the program, for messages.
        #[n(2)]
        program: String,
    },
    /// Asks for a range of a granted pack. `id` is free once it was answered.
    #[n(1)]
    Read {
        #[n(0)]
        id: u32,
        #[n(1)]
        pack: Sha256,
        #[n(2)]
        offset: u64,
        #[n(3)]
        length: u64,
    },
    /// Asks how long a granted pack is in the store.
    #[n(2)]
    Size {
        #[n(0)]
        id: u32,
        #[n(1)]
        pack: Sha256,
    },
    /// Content in place so far, bytes; also said while nothing changes.
    #[n(3)]
    Progress {
        #[n(0)]
        bytes: u64,
    },
    /// The last word: everything that could be written is on the disk. A report of [`crate::tree::restore`], as JSON.
    #[n(4)]
    Done {
        #[n(0)]
        report: ByteVec,
    },
    /// The last word: it cannot go on.
    #[n(5)]
    Failed {
        #[n(0)]
        message: String,
        /// Trying again may help.
        #[n(1)]
        passing: bool,
    },
}

/// Said by the command.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToWorker {
    /// A part of the sealed grant, in order.
    #[n(0)]
    Grant {
        #[n(0)]
        part: ByteVec,
        #[n(1)]
        last: bool,
    },
    /// A part of what was asked for, in order. Fewer bytes than asked for only where the pack ends.
    #[n(1)]
    Data {
        #[n(0)]
        id: u32,
        #[n(1)]
        part: ByteVec,
        #[n(2)]
        last: bool,
    },
    /// How long the pack is; nothing where there is none.
    #[n(2)]
    Size {
        #[n(0)]
        id: u32,
        #[n(1)]
        bytes: Option<u64>,
    },
    /// A request that cannot be fulfilled.
    #[n(3)]
    Refused {
        #[n(0)]
        id: u32,
        #[n(1)]
        why: Why,
        #[n(2)]
        message: String,
    },
    /// The command is there.
    #[n(4)]
    Alive,
    /// The worker is to end, and to leave what is complete.
    #[n(5)]
    Stop,
}

/// As much of a store's error as a reader decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Why {
    #[n(0)]
    NotFound,
    #[n(1)]
    Denied,
    #[n(2)]
    Unavailable,
    #[n(3)]
    Invalid,
}

/// A message as a frame.
pub(super) fn encode(message: &impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(message).expect("writing to memory does not fail")
}

/// A frame as a message; nothing may follow it.
pub(super) fn decode<'b, T: Decode<'b, ()>>(frame: &'b [u8]) -> Option<T> {
    let mut decoder = minicbor::Decoder::new(frame);
    let message = decoder.decode().ok()?;
    (decoder.position() == frame.len()).then_some(message)
}
