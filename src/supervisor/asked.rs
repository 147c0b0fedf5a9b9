//! Who asks for a control method: a client of the control socket, or a script (`jsonrpc_exec`).

use super::main_loop::Supervisor;
use crate::base::Time;
use crate::control::jsonrpc::{Message, Request, RpcError, parse, response};
use crate::control::server::{Incoming, ReplyTo};
use crate::worker::seat::ToChild;
use serde_json::Value;

/// Where an answer has to go.
#[derive(Debug)]
pub(super) enum To {
    /// To a client of the control socket.
    Client(ReplyTo),
    /// To a run of a worker.
    Script {
        /// The worker's seat.
        seat: usize,
        /// Which tenant it is.
        life: u32,
        /// The worker's number for it.
        ticket: u64,
        /// To be repeated in the response; `None`: the request had none.
        id: Option<Value>,
    },
}

impl Supervisor<'_> {
    /// A script asks; it is answered when main has heard all of its children.
    pub(super) fn on_ask(&mut self, seat: usize, life: u32, ticket: u64, text: &[u8]) {
        let failed = |id: Value, error: RpcError| (To::Script { seat, life, ticket, id: Some(id) }, Err(error));
        let asked = match parse(text) {
            Message::One(Ok(request)) => (To::Script { seat, life, ticket, id: request.id.clone() }, Ok(request)),
            Message::One(Err((id, error))) => failed(id, error),
            Message::Batch(_) => failed(Value::Null, RpcError::invalid("one request at a time")),
        };
        self.asked.push(asked);
    }

    /// Does what scripts have asked for.
    pub(super) fn answer_scripts(&mut self, now: Time, more: &mut Vec<Incoming>) {
        for (to, asked) in std::mem::take(&mut self.asked) {
            match asked {
                Ok(request) => self.on_request(to, request, now, more),
                Err(error) => self.reply(to, Err(error), now, more),
            }
        }
    }

    /// Answers whoever has asked.
    pub(super) fn reply(&mut self, to: To, result: Result<Value, RpcError>, now: Time, more: &mut Vec<Incoming>) {
        match to {
            To::Client(to) => {
                if let Some(control) = &mut self.control {
                    control.reply(to, result, self.poll.registry(), now, more);
                }
            }
            To::Script { seat, life, ticket, id } => {
                if self.places.get(seat).is_some_and(|p| p.incarnation == life) {
                    let text = response(&id.unwrap_or(Value::Null), result).to_string();
                    self.tell(seat, &ToChild::Told { ticket, text });
                }
            }
        }
    }
}

/// What a script asks for, or why that cannot be done.
pub(super) type Asked = (To, Result<Request, RpcError>);
