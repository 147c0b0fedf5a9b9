//! The values that everything asks for (top Via, From, To), parsed once per message and kept as
//! positions. A message that waits keeps them too: so they are counted from the start of the value, in
//! 16 bits; what does not fit is parsed at each use.

use super::nameaddr::NameAddr;
use super::params::Params;
use super::range::Range;
use super::transport::Transport;
use super::via::{Picked, Via};
use std::cell::OnceCell;

/// What has been parsed of one message so far.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// The topmost Via value.
    pub via: OnceCell<Seen<ViaAt>>,
    /// The From header.
    pub from: OnceCell<Seen<AddressAt>>,
    /// The To header.
    pub to: OnceCell<Seen<AddressAt>>,
}

/// What came of parsing a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen<T> {
    /// It is missing or malformed.
    Not,
    /// It was found there.
    At(T),
    /// It is too long for a memo.
    Large,
}

impl<T> Seen<T> {
    /// From what the parser found, and where if that fits.
    pub(super) fn of(found: Option<Option<T>>) -> Seen<T> {
        match found {
            None => Seen::Not,
            Some(None) => Seen::Large,
            Some(Some(at)) => Seen::At(at),
        }
    }

    /// The value: from the memo, or parsed again.
    pub(super) fn read<R>(&self, read: impl FnOnce(&T) -> R, parse: impl FnOnce() -> Option<R>) -> Option<R> {
        match self {
            Seen::Not => None,
            Seen::At(at) => Some(read(at)),
            Seen::Large => parse(),
        }
    }
}

/// A part of a value: where it starts in it, and its length.
#[derive(Clone, Copy, Debug)]
struct Near(u16, u16);

impl Near {
    /// There is no such part.
    const ABSENT: Near = Near(0, u16::MAX);

    fn of(value: &[u8], part: &[u8]) -> Option<Near> {
        // An empty part lies anywhere.
        let range = Range::locate(value, part).unwrap_or_default();
        let len = u16::try_from(range.len()).ok().filter(|len| *len < u16::MAX)?;
        Some(Near(u16::try_from(range.start).ok()?, len))
    }

    fn picked(value: &[u8], part: Option<&[u8]>) -> Option<Near> {
        part.map_or(Some(Near::ABSENT), |part| Near::of(value, part))
    }

    fn read<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.0);
        value.get(start..start + usize::from(self.1)).unwrap_or_default()
    }

    fn get<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        (self.1 != u16::MAX).then(|| self.read(value))
    }
}

/// A parsed Via value as positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct ViaAt {
    raw: Range,
    head: Near,
    name: Near,
    version: Near,
    transport_bytes: Near,
    host: Near,
    params: Near,
    comment: Near,
    branch: Near,
    received: Near,
    maddr: Near,
    rport: Near,
    port: Option<u16>,
    transport: Transport,
}

/// A parsed From or To value as positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressAt {
    raw: Range,
    display: Near,
    uri: Near,
    params: Near,
    tag: Near,
    bracketed: bool,
}

impl ViaAt {
    /// `None`: too long.
    pub(super) fn of(bytes: &[u8], via: &Via<'_>) -> Option<ViaAt> {
        let raw = via.raw;
        Some(ViaAt {
            raw: Range::locate(bytes, raw)?,
            head: Near::of(raw, via.head)?,
            name: Near::of(raw, via.name)?,
            version: Near::of(raw, via.version)?,
            transport_bytes: Near::of(raw, via.transport_bytes)?,
            host: Near::of(raw, via.host)?,
            params: Near::of(raw, via.params.raw())?,
            comment: Near::picked(raw, via.comment)?,
            branch: Near::picked(raw, via.picked.branch)?,
            received: Near::picked(raw, via.picked.received)?,
            maddr: Near::picked(raw, via.picked.maddr)?,
            rport: Near::picked(raw, via.picked.rport)?,
            port: via.port,
            transport: via.transport,
        })
    }

    pub(super) fn read<'a>(&self, bytes: &'a [u8]) -> Via<'a> {
        let raw = self.raw.of(bytes);
        Via {
            raw,
            head: self.head.read(raw),
            name: self.name.read(raw),
            version: self.version.read(raw),
            transport: self.transport,
            transport_bytes: self.transport_bytes.read(raw),
            host: self.host.read(raw),
            port: self.port,
            params: Params::new(self.params.read(raw)),
            comment: self.comment.get(raw),
            picked: Picked {
                branch: self.branch.get(raw),
                received: self.received.get(raw),
                maddr: self.maddr.get(raw),
                rport: self.rport.get(raw),
            },
        }
    }
}

impl AddressAt {
    /// `None`: too long.
    pub(super) fn of(bytes: &[u8], address: &NameAddr<'_>) -> Option<AddressAt> {
        let raw = address.raw;
        Some(AddressAt {
            raw: Range::locate(bytes, raw)?,
            display: Near::of(raw, address.display)?,
            uri: Near::of(raw, address.uri)?,
            params: Near::of(raw, address.params.raw())?,
            tag: Near::picked(raw, address.tag())?,
            bracketed: address.bracketed,
        })
    }

    pub(super) fn read<'a>(&self, bytes: &'a [u8]) -> NameAddr<'a> {
        let raw = self.raw.of(bytes);
        NameAddr {
            raw,
            display: self.display.read(raw),
            uri: self.uri.read(raw),
            bracketed: self.bracketed,
            params: Params::new(self.params.read(raw)),
        }
    }

    /// The tag, without reading the rest.
    pub(super) fn tag<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.tag.get(self.raw.of(bytes))
    }
}
