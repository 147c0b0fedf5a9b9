//! What main asks a worker about its transactions: to list them, to answer or cancel one, to send
//! a request of the server's own.

use super::local::{Asker, OwnRequest};
use super::seat::{CallError, ToMain};
use super::state::Worker;
use crate::base::{Key, Str};
use crate::modules::request::ReplyRequest;
use crate::modules::tm::ids::TxName;
use crate::net::bus::Bus;
use crate::sip::nameaddr::NameAddr;
use crate::transaction::{Output, TxKey};
use serde_json::{Value, json};

/// Parameters of a control method, by place or by name.
pub(super) struct Params(Value);

impl Params {
    pub(super) fn parse(text: &str) -> Result<Params, CallError> {
        serde_json::from_str(text).map(Params).map_err(|_| CallError::bad_params("the parameters are not JSON"))
    }

    /// A text or a number as text; `None` if left out, null, empty or `.` (as peers write it).
    pub(super) fn text(&self, place: usize, name: &str) -> Option<String> {
        let value = match &self.0 {
            Value::Array(list) => list.get(place),
            Value::Object(map) => map.get(name),
            _ => None,
        };
        let text = match value? {
            Value::String(s) => s.clone(),
            Value::Number(n) => n.to_string(),
            _ => return None,
        };
        (!text.is_empty() && text != ".").then_some(text)
    }

    pub(super) fn required(&self, place: usize, name: &str) -> Result<String, CallError> {
        self.text(place, name).ok_or_else(|| CallError::bad_params(format!("the parameter \"{name}\" is missing")))
    }

    pub(super) fn number<T: std::str::FromStr>(&self, place: usize, name: &str) -> Result<Option<T>, CallError> {
        self.text(place, name)
            .map(|t| t.parse().map_err(|_| CallError::bad_params(format!("\"{name}\" is no number: {t}"))))
            .transpose()
    }
}

/// `INDEX:LABEL`, as scripts and the lines of `t_write_req` have it.
fn named(id: &str) -> Option<TxName> {
    let (index, label) = id.split_once(':')?;
    TxName::read(index.parse().ok()?, label.parse().ok()?)
}

/// Most transactions that one answer lists if it does not say how many.
const LISTED: usize = 100;

impl Worker {
    /// The methods of this file; `None`: it is none of them, or it is answered later.
    pub(super) fn transaction_call(&mut self, id: u64, method: &str, params: &str) -> Option<Result<Value, CallError>> {
        let params = match Params::parse(params) {
            Ok(params) => params,
            Err(why) => return Some(Err(why)),
        };
        match method {
            "t_hash" | "tm:hash" | "tm.list" => Some(self.list_transactions(&params)),
            "t_reply" | "tm:reply" | "tm.reply" => Some(self.control_reply(&params)),
            "t_uac_cancel" | "tm:uac_cancel" | "tm.cancel" => Some(self.control_cancel(&params)),
            "t_uac_dlg" | "tm:uac_dlg" => self.control_request(id, &params).err().map(Err),
            _ => Some(Err(CallError::no_such_method())),
        }
    }

    fn transaction_id(&self, key: TxKey) -> String {
        format!("{}.{}.{}", self.me, key.index, key.generation)
    }

    /// `t_hash [CALL-ID] [LIMIT]`
    fn list_transactions(&self, params: &Params) -> Result<Value, CallError> {
        let call_id = params.text(0, "call_id");
        let limit = params.number(1, "limit")?.unwrap_or(LISTED);
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let list: Vec<Value> = self
            .tm
            .iter()
            .filter(|v| match &call_id {
                None => true,
                Some(wanted) => Self::request_of(v).is_some_and(|m| m.call_id() == wanted.as_bytes()),
            })
            .take(limit)
            .map(|v| {
                let request = Self::request_of(&v);
                let branches: Vec<Value> = (self.tm.branches(v.key).enumerate())
                    .map(|(i, b)| {
                        let uri = v.user.branches.get(i).map(|d| text(&d.target.uri));
                        let dest = b.dest.map(|d| d.addr.to_string());
                        json!({ "state": b.state, "last": b.last_status, "uri": uri, "dest": dest })
                    })
                    .collect();
                json!({
                    "id": self.transaction_id(v.key),
                    "method": request.map_or_else(|| v.method.to_string(), |m| text(m.method_bytes())),
                    "state": if v.embryonic { "embryonic" } else { v.server.unwrap_or("local") },
                    "call_id": request.map(|m| text(m.call_id())),
                    "cseq": request.map(|m| m.cseq().number),
                    "age_ms": u64::try_from(self.now.since(v.created).as_millis()).unwrap_or(u64::MAX),
                    "cancelled": v.cancelled,
                    "final": v.final_sent,
                    "branches": branches,
                })
            })
            .collect();
        Ok(json!(list))
    }

    /// `t_reply CODE REASON ID TO-TAG [HEADERS] [BODY]`
    fn control_reply(&mut self, params: &Params) -> Result<Value, CallError> {
        let code: u16 = (params.number(0, "code")?)
            .filter(|c| (100..700).contains(c))
            .ok_or_else(|| CallError::bad_params("\"code\" is a status from 100 to 699"))?;
        let reason = params.required(1, "reason")?;
        let id = params.required(2, "trans_id")?;
        let to_tag = params.text(3, "to_tag");
        let headers = header_lines(&params.text(4, "new_headers").unwrap_or_default())?;
        let body = params.text(5, "body").map(|b| Str::from(b.as_str()));
        if to_tag.as_ref().is_some_and(|t| !crate::sip::bytes::is_token(t.as_bytes())) {
            return Err(CallError::bad_params("\"to_tag\" is no token"));
        }
        let (worker, tx) = match named(&id) {
            Some(TxName { worker, incarnation, key }) if incarnation == self.bus.me().incarnation => (worker, key),
            // Its worker has died.
            Some(_) => return Err(CallError::not_found("no such transaction, or it has its final reply")),
            None => {
                let parts: Vec<u32> = id.split('.').filter_map(|p| p.parse().ok()).collect();
                let [worker, index, generation] = parts[..] else {
                    return Err(CallError::bad_params(
                        "an id looks like 0.12.3, as t_hash and $T_id show it, or like 12:3, as t_write_req does",
                    ));
                };
                (u16::try_from(worker).unwrap_or(u16::MAX), Key { index, generation })
            }
        };
        let open = usize::from(worker) == self.me && self.tm.view(tx).is_some_and(|v| v.final_sent.is_none());
        if !open {
            return Err(CallError::not_found("no such transaction, or it has its final reply"));
        }
        let wanted = ReplyRequest { code, reason: Str::from(reason.as_str()), body };
        let tag = to_tag.as_ref().map(|t| t.as_bytes());
        let sent = self.answer_with(tx, &wanted, headers.as_bytes(), tag);
        self.flush_transactions();
        if sent { Ok(json!({ "replied": id })) } else { Err(CallError::bad_params("this reply cannot be sent here")) }
    }

    /// `t_uac_cancel CALL-ID [CSEQ]`
    fn control_cancel(&mut self, params: &Params) -> Result<Value, CallError> {
        let call_id = params.required(0, "callid")?;
        let cseq = params.number(1, "cseq")?;
        match self.cancel_by_call_id(&Str::from(call_id.as_str()), cseq) {
            1 => Ok(json!({ "cancelled": call_id })),
            _ => Err(CallError::not_found("no such INVITE that can still be cancelled")),
        }
    }

    /// `t_uac_dlg METHOD RURI HEADERS [NEXT-HOP] [SOCKET] [BODY]`: answered with the final reply.
    fn control_request(&mut self, id: u64, params: &Params) -> Result<(), CallError> {
        let text = |s: String| Str::from(s.as_str());
        let headers = header_lines(&params.required(2, "headers")?)?;
        let mut lines = String::new();
        let (mut from, mut to) = (false, false);
        for line in headers.split_inclusive('\n') {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "from" | "f" => {
                    from = true;
                    let tagged = NameAddr::parse(value.trim().as_bytes()).is_ok_and(|n| n.tag().is_some());
                    let tag = if tagged { String::new() } else { format!(";tag={:x}", self.hash(&id.to_be_bytes())) };
                    lines.push_str(&format!("From: {}{tag}\r\n", value.trim()));
                }
                "to" | "t" => {
                    to = true;
                    lines.push_str(&format!("To: {}\r\n", value.trim()));
                }
                "i" => lines.push_str(&format!("Call-ID: {}\r\n", value.trim())),
                "content-length" | "l" | "via" | "v" => {}
                _ => lines.push_str(line),
            }
        }
        if !from || !to {
            return Err(CallError::bad_params("the headers lack From or To"));
        }
        let body = params.text(5, "body");
        // Its Content-Type stands in the headers.
        let body = body.map(|b| Str::from(format!("application/octet-stream {b}").as_str()));
        let order = OwnRequest {
            method: text(params.required(0, "method")?),
            ruri: text(params.required(1, "ruri")?),
            headers: text(lines),
            next_hop: params
                .text(3, "next_hop")
                .map(|t| text(if t.starts_with("sip") { t } else { format!("sip:{t}") })),
            socket: params.text(4, "socket").map(text),
            body,
            asker: Asker::Control(id),
            ..OwnRequest::default()
        };
        self.new_request(order).map_err(CallError::bad_params)
    }

    /// Tells a control request what came of its SIP request.
    pub(super) fn answer_control(&mut self, id: u64, result: Result<Value, String>) {
        let result = result.map(|v| v.to_string()).map_err(|message| CallError { code: -32000, message });
        self.tell_main(&ToMain::Answer { id, result });
    }

    /// A final reply was sent, or reached: somebody may wait for it.
    pub(super) fn control_final(
        &mut self,
        output: &Output<super::state::TxData, super::state::Dest, super::state::ReplyPath>,
    ) {
        let Output::FinalSent { tx, status, .. } = output else { return };
        let Some(data) = self.tm.user_mut(*tx) else { return };
        let asker = std::mem::take(&mut data.asker);
        let reply = data.last_final.take().filter(|r| r.status() == *status);
        let control = match asker {
            Asker::Nobody => return,
            Asker::Control(id) => id,
            Asker::Ping(ping) => return self.ping_ended(&ping, Some((*status, reply.is_some()))),
            Asker::Registration(of) => return self.registration_answered(&of, reply.as_ref()),
            Asker::Script(draft) => return self.draft_answered(draft, *status, reply),
        };
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let sent = data.branches.last();
        let ruri = sent.map(|b| text(&b.target.uri));
        let dest = self.tm.branches(*tx).last().and_then(|b| b.dest.map(|d| d.addr.to_string()));
        let reason = match &reply {
            Some(r) => text(r.reason()),
            None => crate::sip::reply::default_reason(*status).to_string(),
        };
        let message = reply.map(|r| text(r.bytes()));
        let answer = json!({ "status": status, "reason": reason, "ruri": ruri, "next_hop": dest, "message": message });
        self.answer_control(control, Ok(answer));
    }
}

/// Header lines as somebody typed them: any line ends (also written `\r\n`), each becomes CRLF.
fn header_lines(text: &str) -> Result<String, CallError> {
    let mut out = String::new();
    for line in text.replace("\\r\\n", "\n").replace("\\n", "\n").lines().map(str::trim_end).filter(|l| !l.is_empty()) {
        let named = line.split_once(':').is_some_and(|(n, _)| crate::sip::bytes::is_token(n.trim().as_bytes()));
        if !named {
            return Err(CallError::bad_params(format!("this is no header: {line}")));
        }
        out.push_str(line);
        out.push_str("\r\n");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_headers() {
        assert_eq!(header_lines("A: 1\nB: 2\r\n\r\n").unwrap(), "A: 1\r\nB: 2\r\n");
        assert_eq!(header_lines("A: 1\\r\\nB: 2").unwrap(), "A: 1\r\nB: 2\r\n");
        assert_eq!(header_lines("").unwrap(), "");
        assert!(header_lines("nonsense").is_err());
        assert!(header_lines("A b: 1").is_err());
    }

    #[test]
    fn parameters_by_place_and_by_name() {
        let p = Params::parse(r#"["a", 5, ".", null]"#).unwrap();
        assert_eq!((p.text(0, "x").as_deref(), p.number::<u32>(1, "y").unwrap()), (Some("a"), Some(5)));
        assert_eq!((p.text(2, "z"), p.text(3, "z"), p.text(9, "z")), (None, None, None));
        let p = Params::parse(r#"{"x": "7"}"#).unwrap();
        assert_eq!(p.number::<u32>(3, "x").unwrap(), Some(7));
        assert!(p.number::<u8>(3, "x").is_ok() && p.required(0, "y").is_err());
        assert!(Params::parse("{").is_err());
    }
}
