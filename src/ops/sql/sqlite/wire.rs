//! What workers and the SQLite helper say to each other: frames of a length (four bytes,
//! little-endian) and a postcard-encoded message.

use crate::ops::{Failure, SqlResult, SqlValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Largest frame a worker may send: the statements of a transaction.
pub const MAX_REQUEST: usize = 64 << 20;
/// Largest frame of a single query.
pub const MAX_SINGLE: usize = 16 << 20;
/// Largest frame the helper may send.
pub const MAX_REPLY: usize = 64 << 20;

/// A worker's message. `V` and `B` are the types of values and query text, which differ by what may
/// travel between threads; they are encoded alike.
#[derive(Serialize, Deserialize, Debug)]
pub enum ToHelper<V, B> {
    /// Execute a query.
    Query(Query<V, B>),
    /// Nobody waits for this one any more.
    Cancel {
        /// Which.
        id: u64,
    },
}

/// One query.
#[derive(Serialize, Deserialize, Debug)]
pub struct Query<V, B> {
    /// The worker's number for it.
    pub id: u64,
    /// Database file.
    pub path: String,
    /// The query.
    pub query: B,
    /// Values for its placeholders.
    pub params: Vec<V>,
    /// Further statements with their values, in one transaction with it.
    pub then: Vec<(B, Vec<V>)>,
    /// When it is to be interrupted: microseconds on the monotonic clock.
    pub deadline: u64,
    /// Most rows of the answer.
    pub max_rows: u32,
    /// Most bytes of the answer.
    pub max_bytes: u32,
}

/// The helper's answer.
#[derive(Serialize, Deserialize, Debug)]
pub struct Reply {
    /// The worker's number.
    pub id: u64,
    /// What came of it.
    pub outcome: Result<SqlResult, Failure>,
}

/// A value that may travel between threads; encoded as [`SqlValue`].
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// Integer.
    Int(i64),
    /// Seconds since 1970.
    Time(i64),
    /// Text.
    Text(Bytes),
}

/// Bytes that may travel between threads; encoded as [`crate::base::Str`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, v: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(v.to_vec()))
            }
        }
        d.deserialize_bytes(Visitor)
    }
}

/// What a worker sends.
pub type FromWorker = ToHelper<SqlValue, crate::base::Str>;
/// The same as the helper reads it.
pub type AtHelper = ToHelper<Value, Bytes>;

/// A message with its length in front.
pub fn frame(message: &impl Serialize) -> Result<Vec<u8>, postcard::Error> {
    let mut out = postcard::to_extend(message, vec![0; 4])?;
    let length = u32::try_from(out.len() - 4).map_err(|_| postcard::Error::SerializeBufferFull)?;
    if let Some(head) = out.first_chunk_mut::<4>() {
        *head = length.to_le_bytes();
    }
    Ok(out)
}

/// What stands at the head of received bytes.
#[derive(Debug)]
pub enum Head<M> {
    /// Not yet a whole frame.
    Partial,
    /// A message, and how many bytes it took.
    Message(M, usize),
    /// Not what the protocol allows.
    Garbage,
}

/// Reads the message at the head of `buf`, if its frame is not larger than `limit`.
pub fn head<M: DeserializeOwned>(buf: &[u8], limit: usize) -> Head<M> {
    let Some((length, rest)) = buf.split_first_chunk::<4>() else { return Head::Partial };
    let length = u32::from_le_bytes(*length) as usize;
    if length > limit {
        return Head::Garbage;
    }
    match rest.get(..length).map(postcard::from_bytes) {
        None => Head::Partial,
        Some(Ok(message)) => Head::Message(message, length + 4),
        Some(Err(_)) => Head::Garbage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Str;

    #[test]
    fn the_helper_reads_what_the_worker_writes() {
        let params = vec![SqlValue::Null, SqlValue::Int(-7), SqlValue::Time(5), SqlValue::Text(Str::from("x\u{e9}"))];
        let query = Query {
            id: u64::MAX,
            path: "/a/b".to_string(),
            query: Str::from("SELECT ?"),
            params,
            then: vec![(Str::from("DELETE"), vec![SqlValue::Int(1)])],
            deadline: 12,
            max_rows: 3,
            max_bytes: 4,
        };
        let frame = frame(&FromWorker::Query(query)).unwrap();
        assert!(matches!(head::<AtHelper>(&frame[..frame.len() - 1], MAX_REQUEST), Head::Partial));
        assert!(matches!(head::<AtHelper>(&frame, 3), Head::Garbage));
        let Head::Message(AtHelper::Query(q), n) = head::<AtHelper>(&frame, MAX_REQUEST) else { panic!() };
        assert_eq!(n, frame.len());
        assert_eq!((q.id, q.path.as_str(), &q.query.0[..]), (u64::MAX, "/a/b", &b"SELECT ?"[..]));
        let text = Value::Text(Bytes("x\u{e9}".into()));
        assert_eq!(q.then, [(Bytes(b"DELETE".to_vec()), vec![Value::Int(1)])]);
        assert_eq!(q.params, [Value::Null, Value::Int(-7), Value::Time(5), text]);
    }
}
