//! The To-tags of replies that are made here.

use super::env::Env;
use crate::base::hash::keyed;
use crate::sip::message::Message;
use smallvec::SmallVec;

/// A tag.
pub type LocalTag = SmallVec<[u8; 48]>;

/// The tag for replies to a request: the same for every one of them, and for those to its CANCEL, in all processes.
pub fn local_tag(env: &Env, msg: &Message) -> LocalTag {
    let mut text: SmallVec<[u8; 256]> = SmallVec::new();
    text.extend_from_slice(msg.call_id());
    text.push(0);
    text.extend_from_slice(msg.from_tag().unwrap_or_default());
    text.push(0);
    text.extend_from_slice(&msg.cseq().number.to_be_bytes());
    let hash = keyed(env.tag_key, &text);
    let mut tag = LocalTag::from_slice(env.tag_prefix.as_bytes());
    tag.extend((0..16).rev().map(|digit| b"0123456789abcdef"[(hash >> (4 * digit)) as usize & 15]));
    tag
}
