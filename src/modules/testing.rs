//! A stand-in for the machine: calls a function with arguments written as in a script, and keeps
//! its AVPs and `$var`.

use super::env::Env;
use super::host::SipHost;
use super::request::Outcome;
use crate::base::{Str, Time};
use crate::script::ast::{Dialect, RouteKind};
use crate::script::avp::Avps;
use crate::script::format;
use crate::script::host::{Host, Index};
use crate::script::pattern::{compile_regex, compile_subst};
use crate::script::program::Limits;
use crate::script::pv::{self, IndexText, Piece, PvText};
use crate::script::registry::{Arg, Call, FnSpec, FnState, Kind, MapEntry, OutVar, PlainScope, ScopeWith, Step, Subst};
use crate::script::value::Value;
use crate::script::xavp::{Family, Path, Xavps};
use crate::sip::message::Message;
use regex::bytes::Regex;
use std::collections::BTreeMap;
use std::rc::Rc;

/// An argument that is left out.
pub const OMIT: &str = "\0";

/// The machine's side.
#[derive(Default)]
pub struct Fake {
    /// AVPs.
    pub avps: Avps,
    /// `$var`
    pub vars: BTreeMap<String, Value>,
    places: Vec<PvText>,
    regexes: Vec<Regex>,
    substs: Vec<Subst>,
}

/// A run with a message.
pub struct Bench {
    /// The message and all around it.
    pub host: SipHost,
    /// The machine's side.
    pub fake: Fake,
    /// What a function keeps between its steps.
    pub state: FnState,
}

fn index(text: &IndexText) -> Index {
    match text {
        IndexText::At(n) => Index::At(*n),
        IndexText::All => Index::All,
        IndexText::Append => Index::Append,
        _ => Index::None,
    }
}

impl Fake {
    fn value(&self, host: &mut SipHost, var: &PvText) -> Value {
        let sub = var.sub.as_ref().map(|s| Value::Str(self.text(host, s)));
        match var.name.as_str() {
            "avp" => {
                let at = if let Index::At(n) = index(&var.index) { n } else { 0 };
                self.avps.get(&sub.and_then(|s| s.to_text()).unwrap_or_default(), at)
            }
            "var" => {
                let name = sub.and_then(|s| s.to_text()).unwrap_or_default();
                self.vars.get(&*name.to_lossy()).cloned().unwrap_or_default()
            }
            "xavp" => {
                let path = sub.and_then(|s| s.to_text()).unwrap_or_default();
                let path = Path::parse(&path).expect("a path");
                self.avps.xavps().map_or(Value::Null, |x| x.read(Family::Xavp, &path))
            }
            name => match SipHost::find_pv(Dialect::OpenSips, name, None) {
                Some(spec) => host.get(spec.pv, sub.as_ref(), index(&var.index), Time::ZERO),
                None => panic!("no variable {}", var.text),
            },
        }
    }

    fn text(&self, host: &mut SipHost, pieces: &[Piece]) -> Str {
        let mut out = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(t) => out.extend_from_slice(t),
                Piece::Var(v) => self.value(host, v).write_to(&mut out),
            }
        }
        Str::from(out)
    }

    fn place(&mut self, var: PvText) -> OutVar {
        let sub = match var.sub.as_deref() {
            Some([Piece::Text(t)]) => Value::text(t.as_slice()),
            _ => Value::Null,
        };
        let index = index(&var.index);
        self.places.push(var);
        OutVar { var: self.places.len() as u32 - 1, sub, index }
    }
}

impl ScopeWith<SipHost> for Fake {
    fn assign(&mut self, host: &mut SipHost, out: &OutVar, value: Value) {
        let name = self.places[out.var as usize].name.clone();
        let sub = out.sub.to_text().unwrap_or_default();
        match name.as_str() {
            "avp" => self.avps.assign(&sub, out.index, false, value, &Limits::default()).unwrap(),
            "var" => {
                self.vars.insert(sub.to_lossy().into_owned(), value);
            }
            "xavp" => {
                let path = Path::parse(&sub).expect("a path");
                self.avps.xavps_mut().assign(Family::Xavp, &path, value, &Limits::default()).unwrap();
            }
            name => {
                let spec = SipHost::find_pv(Dialect::OpenSips, name, None).unwrap();
                host.set(spec.pv, Some(&out.sub), out.index, false, value).unwrap();
            }
        }
    }

    fn read(&mut self, host: &mut SipHost, out: &OutVar) -> Value {
        let var = self.places[out.var as usize].clone();
        self.value(host, &var)
    }

    fn expand(&mut self, host: &mut SipHost, format: &[u8]) -> Str {
        match pv::pieces(format) {
            Ok(pieces) => self.text(host, &pieces),
            Err(_) => Str::from(format),
        }
    }

    fn value_of(&mut self, host: &mut SipHost, text: &[u8]) -> Value {
        match pv::parse(text) {
            Ok(var) => Fake::value(self, host, &var),
            Err(_) => Value::Str(self.expand(host, text)),
        }
    }

    fn plain(&mut self) -> &mut dyn PlainScope {
        self
    }
}

impl PlainScope for Fake {
    fn avp_values(&self, out: &OutVar) -> Option<Vec<Value>> {
        let is_avp = self.places[out.var as usize].name == "avp";
        is_avp.then(|| self.avp(&out.sub.to_text().unwrap_or_default()))
    }

    fn clear_out(&mut self, out: &OutVar) {
        self.avps.clear(&out.sub.to_text().unwrap_or_default());
    }

    fn push_avp(&mut self, name: &[u8], value: Value) {
        self.avps.push(name, value, &Limits::default()).unwrap();
    }

    fn clear_avp(&mut self, name: &[u8]) -> usize {
        self.avps.clear(name)
    }

    fn avp(&self, name: &[u8]) -> Vec<Value> {
        self.avps.values(name).cloned().collect()
    }

    fn avps(&self) -> Vec<(Str, Vec<Value>)> {
        self.avps.all().map(|(n, l)| (n.clone(), l.cloned().collect())).collect()
    }

    fn xavps(&self) -> Option<&Xavps> {
        self.avps.xavps()
    }

    fn xavps_mut(&mut self) -> (&mut Xavps, Limits) {
        (self.avps.xavps_mut(), Limits::default())
    }

    fn vars(&self) -> Vec<(&str, Value)> {
        self.vars.iter().map(|(n, v)| (n.as_str(), v.clone())).collect()
    }

    fn set_var(&mut self, name: &[u8], value: Value) {
        self.vars.insert(String::from_utf8_lossy(name).into_owned(), value);
    }

    fn regex(&self, number: u32) -> &Regex {
        &self.regexes[number as usize]
    }

    fn subst(&self, number: u32) -> Option<&Subst> {
        self.substs.get(number as usize)
    }

    fn pattern(&self, pattern: &[u8]) -> Result<Rc<Regex>, String> {
        compile_regex(&String::from_utf8_lossy(pattern)).map(Rc::new)
    }

    fn find_route(&self, _kind: RouteKind, _name: &[u8]) -> Option<u32> {
        None
    }

    fn rc(&self) -> i32 {
        1
    }

    fn route_kind(&self) -> RouteKind {
        RouteKind::Request
    }

    fn timeout_secs(&self) -> Option<u32> {
        None
    }

    fn is_plain(&self) -> bool {
        false
    }

    fn position(&self) -> (String, u32) {
        Default::default()
    }

    fn route_name(&self) -> String {
        String::new()
    }
}

impl Bench {
    /// A run about a message.
    pub fn new(text: &str) -> Bench {
        Bench::with(text, Env::unattached())
    }

    /// A run about a message, in a server.
    pub fn with(text: &str, env: Env) -> Bench {
        let msg = Message::parse(Str::from(text)).unwrap();
        let host = SipHost::new(Rc::new(env), msg, ([127, 0, 0, 1], 5060).into(), 0);
        Bench { host, fake: Fake::default(), state: FnState::default() }
    }

    fn arg(&mut self, kind: Kind, text: &str) -> Arg {
        let fake = &mut self.fake;
        if text == OMIT {
            return Arg::None;
        }
        match kind {
            Kind::Str | Kind::Flag | Kind::Defined(..) => {
                Arg::Value(Value::Str(fake.expand(&mut self.host, text.as_bytes())))
            }
            Kind::Int | Kind::Condition => Arg::Value(Value::Int(text.parse().unwrap())),
            Kind::IntOrStr => Arg::Value(text.parse().map_or(Value::from(text), Value::Int)),
            // In quotes: a text.
            Kind::RawOrOut => match format::single(text.as_bytes()) {
                Some(v) => Arg::Out(fake.place(v)),
                None => Arg::Value(Value::from(text.trim_matches('"'))),
            },
            Kind::Raw | Kind::Route(_) | Kind::Event(_) => Arg::Value(Value::from(text)),
            Kind::Out => Arg::Out(fake.place(format::single(text.as_bytes()).unwrap())),
            Kind::Var => {
                let value = fake.value(&mut self.host, &format::single(text.as_bytes()).unwrap());
                if value.is_null() { Arg::None } else { Arg::Value(value) }
            }
            Kind::StrOrOut | Kind::StrThenOut => match format::single(text.as_bytes()) {
                Some(v) => Arg::Out(fake.place(v)),
                None => Arg::Value(Value::Str(fake.expand(&mut self.host, text.as_bytes()))),
            },
            Kind::OutList => {
                let list = format::list(text.as_bytes()).unwrap();
                Arg::Outs(list.into_iter().map(|v| fake.place(v)).collect())
            }
            // What starts with a variable is computed at run time.
            Kind::Regex if text.starts_with("$var") => {
                Arg::Value(Value::Str(fake.expand(&mut self.host, text.as_bytes())))
            }
            Kind::Regex => {
                fake.regexes.push(compile_regex(text).unwrap());
                Arg::Regex(fake.regexes.len() as u32 - 1)
            }
            Kind::Subst if text.starts_with("$var") => {
                Arg::Value(Value::Str(fake.expand(&mut self.host, text.as_bytes())))
            }
            Kind::Map(..) => {
                let list = format::named_list(text.as_bytes()).unwrap();
                let entry = |(name, var): (String, PvText)| MapEntry {
                    name: Str::from(name),
                    value: fake.value(&mut self.host, &var),
                    place: Some(fake.place(var)),
                };
                Arg::Map(list.items.into_iter().map(entry).collect())
            }
            Kind::Subst => {
                fake.substs.push(compile_subst(text.as_bytes()).unwrap());
                Arg::Subst(fake.substs.len() as u32 - 1)
            }
        }
    }

    fn step(&mut self, spec: &FnSpec<SipHost>, args: &[&str], outcome: Option<Outcome>) -> Step<SipHost> {
        let args: Vec<Arg> = (0..spec.params.len())
            .map(|i| self.arg(spec.params[i].kind, args.get(i).copied().unwrap_or(OMIT)))
            .collect();
        let mut call =
            Call { host: &mut self.host, args: &args, scope: &mut self.fake, now: Time::ZERO, state: &mut self.state };
        match outcome {
            None => (spec.run)(&mut call),
            Some(o) => (spec.finish.unwrap())(&mut call, o),
        }
    }

    /// Starts a function.
    pub fn start(&mut self, spec: &FnSpec<SipHost>, args: &[&str]) -> Step<SipHost> {
        self.state = FnState::default();
        self.step(spec, args, None)
    }

    /// Goes on with an outcome.
    pub fn finish(&mut self, spec: &FnSpec<SipHost>, args: &[&str], outcome: Outcome) -> Step<SipHost> {
        self.step(spec, args, Some(outcome))
    }

    /// The code of a function that does not wait; -1000 if it fails.
    pub fn call(&mut self, spec: &FnSpec<SipHost>, args: &[&str]) -> i32 {
        match self.start(spec, args) {
            Step::Done(code) => code,
            Step::Fail(why) => {
                assert!(!why.is_empty());
                -1000
            }
            Step::Wait(request) => panic!("waits for {request:?}"),
            Step::Continue(_) | Step::Route(_) | Step::Beside { .. } => panic!("goes on in a route"),
        }
    }

    /// The message as it would be sent.
    pub fn sent(&self) -> String {
        String::from_utf8(self.host.edits.apply(&self.host.msg)).unwrap()
    }

    /// Texts of an AVP, index 0 first.
    pub fn avp(&self, name: &str) -> Vec<String> {
        self.fake.avps.values(name.as_bytes()).map(|v| v.to_text().unwrap().to_string()).collect()
    }

    /// Pushes values onto an AVP; the last one becomes index 0.
    pub fn push(&mut self, name: &str, values: &[Value]) {
        for v in values {
            self.fake.push_avp(name.as_bytes(), v.clone());
        }
    }
}

/// An INVITE with an SDP offer.
pub const INVITE: &str = concat!(
    "INVITE sip:bob@biloxi.com:5070;user=phone SIP/2.0\r\n",
    "Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776\r\n",
    "Max-Forwards: 70\r\n",
    "To: Bob <sip:bob@biloxi.com>\r\n",
    "From: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n",
    "Call-ID: a84b4c76e66710\r\n",
    "CSeq: 314159 INVITE\r\n",
    "Contact: <sip:alice@10.0.0.1>\r\n",
    "X-One: first value\r\n",
    "X-Two: second value\r\n",
    "Content-Type: application/sdp\r\n",
    "Content-Length: 230\r\n",
    "\r\n",
    "v=0\r\n",
    "o=alice 1 1 IN IP4 10.0.0.1\r\n",
    "s=-\r\n",
    "c=IN IP4 10.0.0.1\r\n",
    "t=0 0\r\n",
    "m=audio 4000 RTP/AVP 8 0 101\r\n",
    "a=rtpmap:8 PCMA/8000\r\n",
    "a=rtpmap:101 telephone-event/8000\r\n",
    "a=fmtp:101 0-16\r\n",
    "a=sendrecv\r\n",
    "m=video 4002 RTP/AVP 97\r\n",
    "a=rtpmap:97 H264/90000\r\n",
);

#[test]
fn the_invite_is_whole() {
    let m = Message::parse(Str::from(INVITE)).unwrap();
    assert_eq!(m.bytes().len(), INVITE.len());
    assert_eq!(m.content_length().unwrap() as usize, m.body().len());
}
