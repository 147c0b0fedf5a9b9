//! `dlgs`: calls that are followed by their Call-ID, without dialogs (kamailio.md section 5.2). The records lie in the
//! shared store; replies that leave move them on by themselves (`worker/dialogs.rs`).

use super::avpops::from_glob;
use super::host::SipHost;
use super::log_line;
use crate::base::Str;
use crate::script::ast::{Dialect, RouteKind};
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::{Message, Method};
use crate::store::Shared;
use crate::store::shared::dialogs::{Attribute, Begun, Dialog, LONGEST, Lifetimes, MOST, MOST_TAGS, State};
use std::time::Duration;

/// How the module is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The module is loaded: replies move calls on.
    pub loaded: bool,
    /// `init_lifetime`, `active_lifetime`, `finish_lifetime`
    pub lives: Lifetimes,
    /// `timer_interval`
    pub interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { loaded: false, lives: Lifetimes::default(), interval: Duration::from_secs(30) }
    }
}

impl Settings {
    /// Takes over a parameter.
    pub fn set(&mut self, param: &str, value: &Value) {
        let Some(seconds) = value.to_int().map(|n| n.clamp(0, 1 << 31)) else { return };
        match param {
            "init_lifetime" => self.lives.init = seconds,
            "active_lifetime" => self.lives.active = seconds,
            "finish_lifetime" => self.lives.finish = seconds,
            // Kamailio takes its own value for what is no time.
            "timer_interval" if seconds > 0 => self.interval = Duration::from_secs(seconds.unsigned_abs()),
            _ => {}
        }
    }
}

const fn seconds(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Int, ignored: false, doc }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "dlgs",
    dialects: &[Dialect::Kamailio],
    functions: &[INIT, UPDATE, FIND, COUNT, TAGS_ADD, TAGS_RM, TAGS_COUNT],
    params: &[
        seconds("init_lifetime", "seconds a call is kept that is not acknowledged, from its INVITE on; default 180"),
        seconds("active_lifetime", "seconds a call is kept, from its answer on; default 10800"),
        seconds("finish_lifetime", "seconds a call is kept that is over; default 10"),
        seconds("timer_interval", "seconds between two looks for calls whose time is over; default 30"),
        ModParamSpec { name: "hash_size", kind: ModParamKind::Int, ignored: true, doc: "not needed" },
    ],
    any_param: false,
    needs: &[],
};

/// What moves a call on.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A request of this method.
    Request(Method),
    /// A reply to the INVITE: its status and To tag.
    Reply(u16, &'a [u8]),
}

/// Moves a call on; whether that changed it.
pub fn advance(d: &mut Dialog, event: Event<'_>, now: i64) -> bool {
    let early = matches!(d.state, State::Init | State::Progress);
    let to = match event {
        Event::Request(Method::Ack) if d.state == State::Answered => State::Confirmed,
        Event::Request(Method::Cancel) if early => State::NotAnswered,
        Event::Request(Method::Bye) if matches!(d.state, State::Answered | State::Confirmed) => State::Terminated,
        Event::Reply(100..=199, _) if d.state == State::Init => State::Progress,
        Event::Reply(200..=299, tag) if early => {
            d.answered = now;
            if d.to_tag.is_empty() && tag.len() <= LONGEST {
                d.to_tag = Str::from(tag);
            }
            State::Answered
        }
        Event::Reply(300.., _) if early => State::NotAnswered,
        _ => return false,
    };
    d.state = to;
    if to.is_over() {
        d.over = now;
    }
    true
}

fn event(msg: &Message) -> Event<'_> {
    if msg.is_request() {
        Event::Request(msg.method())
    } else {
        Event::Reply(msg.status(), msg.to_tag().unwrap_or_default())
    }
}

fn parts(h: &SipHost) -> Result<(&Shared, &Lifetimes, i64), String> {
    let env = h.env();
    let store = env.store.as_ref().ok_or("there is no shared store")?;
    Ok((store, &env.settings.dialogs.lives, env.clock.micros() / 1_000_000))
}

fn failed(call: &Call<'_, SipHost>, why: impl std::fmt::Display, code: i32) -> Step<SipHost> {
    log_line(call.host, -1, &format!("dlgs: {why}"));
    Step::Done(code)
}

/// The record of the call that a message belongs to, with its state as that message leaves it.
fn record(h: &SipHost, of: [Str; 3], now: i64) -> Result<Dialog, String> {
    let [src, dst, data] = of;
    let msg = &h.msg;
    let from_tag = msg.from_tag().unwrap_or_default();
    let texts: [(&str, &[u8]); 5] =
        [("Call-ID", msg.call_id()), ("From tag", from_tag), ("source", &src), ("destination", &dst), ("data", &data)];
    if let Some((what, _)) = texts.iter().find(|(_, text)| text.len() > LONGEST) {
        return Err(format!("the call is not followed: its {what} is longer than {LONGEST} bytes"));
    }
    Ok(Dialog {
        call_id: Str::from(msg.call_id()),
        from_tag: Str::from(from_tag),
        to_tag: Str::default(),
        ruid: Str::from(format!("dlgs-{:x}-{:x}-{:x}", h.env().pid, h.received_at, h.message_id)),
        src,
        dst,
        data,
        tags: Vec::new(),
        state: State::Init,
        begun: now,
        answered: 0,
        over: 0,
    })
}

fn update(h: &SipHost) -> Result<(), String> {
    let (store, lives, now) = parts(h)?;
    let of_invite = h.msg.is_request() || h.msg.cseq().method == Method::Invite;
    if !of_invite {
        return Ok(());
    }
    let event = event(&h.msg);
    let moved = store.dialog_change(h.msg.call_id(), lives, &|d| advance(d, event, now));
    moved.map(|_| ()).map_err(|e| e.to_string())
}

const INIT: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("dlgs_init"),
    params: &[Param::req("source", Kind::Str), Param::req("destination", Kind::Str), Param::req("data", Kind::Str)],
    variadic: false,
    routes: RouteSet::of(&[RouteKind::Request, RouteKind::Branch, RouteKind::OnReply, RouteKind::OnSend]),
    waits: false,
    doc: "Follows the call of this INVITE from now on, by its Call-ID; the three texts are what it can be found by. Any \
          other request moves the call on as dlgs_update does.",
    returns: &[(1, "done, or it was followed already"), (-1, "not followed: too many are, or a text is too long")],
    example: r#"dlgs_init("$fu", "$tu", "srcip=$si");"#,
    run: |call| {
        let of = [0, 1, 2].map(|i| call.text(i).unwrap_or_default());
        let h = &*call.host;
        let invite = h.msg.cseq().method == Method::Invite;
        let done = parts(h).and_then(|(store, lives, now)| {
            if invite {
                let record = record(h, of, now)?;
                if store.dialog_begin(&record, lives).map_err(|e| e.to_string())? == Begun::TooMany {
                    return Err(format!("the call is not followed: {MOST} are"));
                }
                if h.msg.is_request() {
                    return Ok(());
                }
            }
            update(h)
        });
        match done {
            Ok(()) => Step::Done(1),
            Err(why) => failed(call, why, -1),
        }
    },
    finish: None,
};

const UPDATE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("dlgs_update"),
    params: &[],
    routes: RouteSet::of(&[RouteKind::Request, RouteKind::Branch, RouteKind::OnSend]),
    doc: "Moves the call on that this request belongs to: an ACK confirms it, a BYE and a CANCEL end it. Replies need no \
          function.",
    returns: &[(1, "done, also if the call is not followed"), (-1, "the shared store cannot be used")],
    example: r#"if (is_method("ACK|BYE|CANCEL")) dlgs_update();"#,
    run: |call| match update(call.host) {
        Ok(()) => Step::Done(1),
        Err(why) => failed(call, why, -1),
    },
    ..INIT
};

const FIND: FnSpec<SipHost> = FnSpec {
    kamailio: Some("dlgs_find"),
    doc: "Whether the call that this request belongs to is followed.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (!dlgs_find()) xlog("L_INFO", "$ci is not followed\n");"#,
    run: |call| {
        let found =
            parts(call.host).and_then(|(store, ..)| store.dialog(call.host.msg.call_id()).map_err(|e| e.to_string()));
        match found {
            Ok(found) => Step::Done(if found.is_some() { 1 } else { -1 }),
            Err(why) => failed(call, why, -1),
        }
    },
    ..UPDATE
};

/// What calls are searched by.
pub struct Filter {
    /// In which attribute; `None`: any call.
    of: Option<Attribute>,
    test: Test,
}

enum Test {
    Is(Str),
    IsNot(Str),
    Begins(Str),
    Fits(regex::bytes::Regex),
}

impl Filter {
    /// Reads `src|dst|data|any`, `eq|ne|re|sw|fm` and the operand.
    pub fn new(field: &[u8], operator: &[u8], operand: &[u8]) -> Result<Filter, String> {
        let of = match field.to_ascii_lowercase().as_slice() {
            b"any" => None,
            b"src" => Some(Attribute::Source),
            b"dst" => Some(Attribute::Destination),
            b"data" => Some(Attribute::Data),
            _ => return Err(format!("the field is src, dst, data or any, not `{}`", String::from_utf8_lossy(field))),
        };
        let regex = |pattern: &str| {
            let no = |e: &dyn std::fmt::Display| format!("`{pattern}` is no pattern: {e}");
            crate::script::pattern::compile_regex(pattern).map(Test::Fits).map_err(|e| no(&e))
        };
        let text = String::from_utf8_lossy(operand);
        let test = match operator.to_ascii_lowercase().as_slice() {
            b"eq" => Test::Is(Str::from(operand)),
            b"ne" => Test::IsNot(Str::from(operand)),
            b"sw" => Test::Begins(Str::from(operand)),
            b"re" if of.is_some() => regex(&text)?,
            b"fm" if of.is_some() => regex(&from_glob(&text))?,
            b"re" | b"fm" => Test::Begins(Str::default()),
            _ => {
                let word = String::from_utf8_lossy(operator);
                return Err(format!("the operator is eq, ne, re, sw or fm, not `{word}`"));
            }
        };
        Ok(Filter { of, test })
    }

    fn takes(&self, value: &[u8]) -> bool {
        match &self.test {
            Test::Is(text) => **text == *value,
            Test::IsNot(text) => **text != *value,
            Test::Begins(text) => value.starts_with(text),
            Test::Fits(regex) => regex.is_match(value),
        }
    }

    /// Whether a call is meant.
    pub fn takes_call(&self, d: &Dialog) -> bool {
        match self.of {
            None => true,
            Some(Attribute::Source) => self.takes(&d.src),
            Some(Attribute::Destination) => self.takes(&d.dst),
            Some(_) => self.takes(&d.data),
        }
    }

    /// How many calls that are not over are meant.
    pub fn count(&self, store: &Shared) -> crate::store::shared::Result<u64> {
        let Some(of) = self.of else { return Ok(store.dialog_counts()?.open()) };
        match &self.test {
            Test::Is(text) => store.dialogs_with(of, text),
            Test::IsNot(text) => {
                let all = store.dialog_counts()?.open();
                Ok(all.saturating_sub(store.dialogs_with(of, text)?))
            }
            _ => store.dialogs_where(of, &mut |value| self.takes(value)),
        }
    }
}

/// A number as return code: none is false, and 0 would end the script.
fn number(n: u64) -> Step<SipHost> {
    Step::Done(if n == 0 { -1 } else { i32::try_from(n).unwrap_or(i32::MAX) })
}

const COUNT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("dlgs_count"),
    params: &[Param::req("field", Kind::Str), Param::req("operator", Kind::Str), Param::req("text", Kind::Str)],
    routes: RouteSet::ALL,
    doc: "How many calls that are not over have this source (`src`), destination (`dst`) or data (`data`): `eq` the \
          text, `ne` another one, `sw` one that begins with it, `re` one that fits a regular expression, `fm` a shell \
          pattern; `any`: all. `eq`, `ne` and `any` take no time; the others look at every value there is.",
    returns: &[(1, "the number itself"), (-1, "none"), (-2, "no such field or operator, or no pattern")],
    example: r#"if (dlgs_count("src", "eq", "$fu") > 3) exit;"#,
    run: |call| {
        let [field, operator, text] = [0, 1, 2].map(|i| call.text(i).unwrap_or_default());
        let counted = Filter::new(&field, &operator, &text)
            .and_then(|f| parts(call.host).and_then(|(store, ..)| f.count(store).map_err(|e| e.to_string())));
        match counted {
            Ok(n) => number(n),
            Err(why) => failed(call, why, -2),
        }
    },
    ..INIT
};

/// Changes the tags of the call in work; whether it is followed.
fn tags(call: &Call<'_, SipHost>, f: impl Fn(&mut Vec<Str>, Str) -> bool) -> Step<SipHost> {
    let tag = call.text(0).unwrap_or_default();
    if tag.is_empty() || tag.len() > LONGEST {
        return failed(call, format!("a tag has 1 to {LONGEST} bytes"), -1);
    }
    let changed = parts(call.host).and_then(|(store, lives, _)| {
        let change = |d: &mut Dialog| f(&mut d.tags, tag.clone());
        store.dialog_change(call.host.msg.call_id(), lives, &change).map_err(|e| e.to_string())
    });
    match changed {
        Ok(followed) => Step::Done(if followed.is_some() { 1 } else { -1 }),
        Err(why) => failed(call, why, -1),
    }
}

const TAGS_ADD: FnSpec<SipHost> = FnSpec {
    kamailio: Some("dlgs_tags_add"),
    params: &[Param::req("tag", Kind::Str)],
    doc: "Marks the call in work with a tag; of more than 32 the others are not kept.",
    returns: &[(1, "done"), (-1, "the call is not followed, or the tag is empty")],
    example: r#"dlgs_tags_add("$si");"#,
    run: |call| {
        tags(call, |tags, tag| {
            let room = tags.len() < MOST_TAGS;
            if room {
                tags.insert(0, tag);
            }
            room
        })
    },
    ..COUNT
};

const TAGS_RM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("dlgs_tags_rm"),
    doc: "Takes a tag from the call in work, once.",
    returns: &[(1, "done, also if it had no such tag"), (-1, "the call is not followed, or the tag is empty")],
    example: r#"dlgs_tags_rm("$si");"#,
    run: |call| {
        tags(call, |tags, tag| {
            let at = tags.iter().position(|t| *t == tag);
            at.map(|at| tags.remove(at)).is_some()
        })
    },
    ..TAGS_ADD
};

const TAGS_COUNT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("dlgs_tags_count"),
    doc: "How often calls that are not over are marked with a tag.",
    returns: &[(1, "the number itself"), (-1, "none"), (-2, "the shared store cannot be used")],
    example: r#"if (dlgs_tags_count("$si") > 10) exit;"#,
    run: |call| {
        let tag = call.text(0).unwrap_or_default();
        let counted = parts(call.host)
            .and_then(|(store, ..)| store.dialogs_with(Attribute::Tag, &tag).map_err(|e| e.to_string()));
        match counted {
            Ok(n) => number(n),
            Err(why) => failed(call, why, -2),
        }
    },
    ..TAGS_ADD
};

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Dialog {
        Dialog {
            call_id: Str::from("c"),
            from_tag: Str::default(),
            to_tag: Str::default(),
            ruid: Str::default(),
            src: Str::from("sip:alice@example.org"),
            dst: Str::default(),
            data: Str::default(),
            tags: Vec::new(),
            state: State::Init,
            begun: 1,
            answered: 0,
            over: 0,
        }
    }

    #[test]
    fn messages_move_a_call_on() {
        let mut d = fresh();
        assert!(!advance(&mut d, Event::Request(Method::Ack), 2));
        assert!(!advance(&mut d, Event::Request(Method::Bye), 2));
        assert!(advance(&mut d, Event::Reply(180, b"x"), 2));
        assert!(!advance(&mut d, Event::Reply(183, b"x"), 2));
        assert!(advance(&mut d, Event::Reply(200, b"tag"), 3));
        assert_eq!((d.state, d.answered, &d.to_tag[..]), (State::Answered, 3, &b"tag"[..]));
        assert!(!advance(&mut d, Event::Reply(486, b"tag"), 4), "a re-INVITE that is refused");
        assert!(!advance(&mut d, Event::Request(Method::Cancel), 4));
        assert!(advance(&mut d, Event::Request(Method::Ack), 5));
        assert!(!advance(&mut d, Event::Reply(200, b"tag"), 6));
        assert!(advance(&mut d, Event::Request(Method::Bye), 9));
        assert_eq!((d.state, d.over), (State::Terminated, 9));
        for event in [Event::Reply(404, b""), Event::Request(Method::Cancel)] {
            let mut d = fresh();
            assert!(advance(&mut d, event, 7));
            assert_eq!((d.state, d.over), (State::NotAnswered, 7));
            assert!(!advance(&mut d, Event::Reply(200, b""), 8));
        }
    }

    #[test]
    fn filters_are_read() {
        let takes = |field: &str, op: &str, text: &str| {
            let filter = Filter::new(field.as_bytes(), op.as_bytes(), text.as_bytes()).unwrap();
            filter.takes_call(&fresh())
        };
        assert!(takes("SRC", "EQ", "sip:alice@example.org"));
        assert!(!takes("src", "ne", "sip:alice@example.org"));
        assert!(takes("src", "sw", "sip:alice@"));
        assert!(takes("src", "re", "ali.e@"));
        assert!(takes("src", "fm", "sip:*@example.org"));
        assert!(!takes("src", "fm", "alice"));
        assert!(takes("any", "re", "("));
        for (field, op, text) in [("who", "eq", "x"), ("src", "lt", "x"), ("src", "re", "(")] {
            assert!(Filter::new(field.as_bytes(), op.as_bytes(), text.as_bytes()).is_err(), "{field} {op} {text}");
        }
    }
}
