//! The values that everything asks for (top Via, From, To), parsed once per message and kept as
//! positions.

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
    pub via: OnceCell<Option<ViaAt>>,
    /// The From header.
    pub from: OnceCell<Option<AddressAt>>,
    /// The To header.
    pub to: OnceCell<Option<AddressAt>>,
}

/// A parsed Via value as positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct ViaAt {
    raw: Range,
    head: Range,
    name: Range,
    version: Range,
    transport_bytes: Range,
    host: Range,
    params: Range,
    comment: Option<Range>,
    transport: Transport,
    port: Option<u16>,
    branch: Option<Range>,
    received: Option<Range>,
    maddr: Option<Range>,
    rport: Option<Range>,
}

/// A parsed From or To value as positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressAt {
    raw: Range,
    display: Range,
    uri: Range,
    params: Range,
    tag: Option<Range>,
    bracketed: bool,
}

/// Where `part` lies in `bytes`; an empty part lies anywhere.
fn at(bytes: &[u8], part: &[u8]) -> Range {
    Range::locate(bytes, part).unwrap_or_default()
}

impl ViaAt {
    pub(super) fn of(bytes: &[u8], via: &Via<'_>) -> ViaAt {
        let picked = |value: Option<&[u8]>| value.map(|v| at(bytes, v));
        ViaAt {
            raw: at(bytes, via.raw),
            head: at(bytes, via.head),
            name: at(bytes, via.name),
            version: at(bytes, via.version),
            transport_bytes: at(bytes, via.transport_bytes),
            host: at(bytes, via.host),
            params: at(bytes, via.params.raw()),
            comment: via.comment.map(|c| at(bytes, c)),
            transport: via.transport,
            port: via.port,
            branch: picked(via.picked.branch),
            received: picked(via.picked.received),
            maddr: picked(via.picked.maddr),
            rport: picked(via.picked.rport),
        }
    }

    pub(super) fn read<'a>(&self, bytes: &'a [u8]) -> Via<'a> {
        Via {
            raw: self.raw.of(bytes),
            head: self.head.of(bytes),
            name: self.name.of(bytes),
            version: self.version.of(bytes),
            transport: self.transport,
            transport_bytes: self.transport_bytes.of(bytes),
            host: self.host.of(bytes),
            port: self.port,
            params: Params::new(self.params.of(bytes)),
            comment: self.comment.map(|c| c.of(bytes)),
            picked: Picked {
                branch: self.branch.map(|b| b.of(bytes)),
                received: self.received.map(|r| r.of(bytes)),
                maddr: self.maddr.map(|m| m.of(bytes)),
                rport: self.rport.map(|r| r.of(bytes)),
            },
        }
    }
}

impl AddressAt {
    pub(super) fn of(bytes: &[u8], address: &NameAddr<'_>) -> AddressAt {
        AddressAt {
            raw: at(bytes, address.raw),
            display: at(bytes, address.display),
            uri: at(bytes, address.uri),
            params: at(bytes, address.params.raw()),
            tag: address.tag().map(|t| at(bytes, t)),
            bracketed: address.bracketed,
        }
    }

    pub(super) fn read<'a>(&self, bytes: &'a [u8]) -> NameAddr<'a> {
        NameAddr {
            raw: self.raw.of(bytes),
            display: self.display.of(bytes),
            uri: self.uri.of(bytes),
            bracketed: self.bracketed,
            params: Params::new(self.params.of(bytes)),
        }
    }

    /// The tag, without reading the rest.
    pub(super) fn tag<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.tag.map(|t| t.of(bytes))
    }
}
