//! A host for scripts under test: a few pseudo-variables, functions that record, fail, stop and
//! wait, and a driver that runs each script twice: straight, and one instruction at a time with
//! the run encoded and decoded in between.

use reprise::base::{Str, Time};
use reprise::script::ast::{Dialect, RouteKind, Until};
use reprise::script::diagnostics::Diagnostics;
use reprise::script::host::{Host, Index, PvSpec, SetError, SubName};
use reprise::script::lower::compile;
use reprise::script::parse::{parse_text, parse_text_as};
use reprise::script::program::Program;
use reprise::script::registry::{
    Arg, Call, Catalog, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step,
};
use reprise::script::source::SourceMap;
use reprise::script::value::Value;
use reprise::script::vm::{End, Launched, Paused, Progress, Run, Suspended, WaitInfo};
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// What the script's functions see.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fake {
    /// What `xlog` and the other functions recorded.
    pub trace: Vec<String>,
    /// What the machine logged.
    pub log: Vec<String>,
    pub ruri: Value,
    pub code: Value,
    pub detached: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pv {
    Ruri,
    FromUri,
    Method,
    Source,
    SourcePort,
    Status,
    Header,
    Length,
    Proto,
    DestIp,
    Detached,
    Reply,
}

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Ask(String),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Answer(i32, String),
    Failed(&'static str, &'static str),
}

/// `Ask("fail")` times out; everything else is answered in capitals.
pub fn answer(r: &Request) -> Outcome {
    let Request::Ask(q) = r;
    if q.starts_with("fail") { Outcome::Failed("timeout", "connect") } else { Outcome::Answer(1, q.to_uppercase()) }
}

impl Host for Fake {
    type Pv = Pv;
    type Request = Request;
    type Outcome = Outcome;

    fn catalog(_: Dialect) -> &'static Catalog<Self> {
        &CATALOG
    }

    fn find_pv(_: Dialect, name: &str, _: Option<&str>) -> Option<PvSpec<Pv>> {
        let (pv, sub, writable) = match name {
            "ru" => (Pv::Ruri, SubName::Never, true),
            "fu" | "fU" => (Pv::FromUri, SubName::Never, false),
            "rm" => (Pv::Method, SubName::Never, false),
            "si" => (Pv::Source, SubName::Never, false),
            "sp" => (Pv::SourcePort, SubName::Never, false),
            "rs" => (Pv::Status, SubName::Never, false),
            "hdr" => (Pv::Header, SubName::Required, false),
            "ml" => (Pv::Length, SubName::Never, false),
            "socket_in" => (Pv::Proto, SubName::Optional, false),
            "Ri" => (Pv::DestIp, SubName::Never, false),
            "detached" => (Pv::Detached, SubName::Never, false),
            "<reply>rs" => (Pv::Reply, SubName::Never, false),
            _ => return None,
        };
        Some(PvSpec { pv, sub, writable })
    }

    fn pv_names(_: Dialect) -> &'static [&'static str] {
        &["ru", "fu", "fU", "rm", "si", "sp", "rs", "hdr", "ml", "socket_in", "detached"]
    }

    fn get(&mut self, pv: Pv, sub: Option<&Value>, index: Index, _: Time) -> Value {
        match pv {
            Pv::Ruri => self.ruri.clone(),
            Pv::FromUri => "sip:alice@me.example".into(),
            Pv::Method => "INVITE".into(),
            Pv::Source => "10.1.2.3".into(),
            Pv::SourcePort => Value::Both(5060, Str::from("5060")),
            Pv::Status => Value::Null,
            Pv::Reply => Value::Both(486, Str::from("486")),
            Pv::Header => match (sub.and_then(Value::to_text), index) {
                (Some(n), Index::None | Index::At(0)) if n.eq_ignore_ascii_case(b"x-one") => "first".into(),
                (Some(n), Index::At(1 | -1)) if n.eq_ignore_ascii_case(b"x-one") => "second".into(),
                _ => Value::Null,
            },
            Pv::Length => Value::Int(400),
            Pv::Proto => "udp".into(),
            Pv::DestIp => "192.0.2.1".into(),
            Pv::Detached => Value::Int(self.detached.into()),
        }
    }

    fn set(&mut self, pv: Pv, _: Option<&Value>, _: Index, _: bool, value: Value) -> Result<(), SetError> {
        match pv {
            Pv::Ruri if value.to_text().is_some_and(|t| t.starts_with(b"sip:")) => {
                self.ruri = value;
                Ok(())
            }
            Pv::Ruri => Err(SetError::BadValue("not a URI")),
            _ => Err(SetError::ReadOnly),
        }
    }

    fn is_myself(&mut self, text: &[u8]) -> bool {
        text.ends_with(b"me.example")
    }

    fn detached(&self) -> Self {
        Fake { detached: true, ..Fake::new() }
    }

    fn failure(reason: &'static str, phase: &'static str) -> Outcome {
        Outcome::Failed(reason, phase)
    }

    fn outcome_error(outcome: &Outcome) -> Option<(String, &'static str)> {
        match outcome {
            Outcome::Answer(..) => None,
            Outcome::Failed(reason, phase) => Some((reason.to_string(), phase)),
        }
    }

    fn log(&mut self, level: i32, text: &str) {
        self.log.push(format!("{level} {text}"));
    }
}

impl Fake {
    pub fn new() -> Fake {
        Fake { ruri: "sip:bob@example.com:5070;transport=tcp".into(), ..Fake::default() }
    }
}

type C<'a, 'b> = &'a mut Call<'b, Fake>;

fn xlog(c: C<'_, '_>) -> Step<Fake> {
    let text = c.text(0).unwrap_or_default().to_string();
    c.host.trace.push(text);
    Step::Done(1)
}

fn ret(c: C<'_, '_>) -> Step<Fake> {
    Step::Done(c.int(0).unwrap_or(-99) as i32)
}

fn broken(_: C<'_, '_>) -> Step<Fake> {
    Step::Fail("is broken".into())
}

fn show(c: C<'_, '_>) -> Step<Fake> {
    let line = format!("{:?}", c.args);
    c.host.trace.push(line);
    Step::Done(1)
}

fn yes(_: C<'_, '_>) -> Step<Fake> {
    Step::Done(1)
}

fn check(c: C<'_, '_>) -> Step<Fake> {
    let text = format!("check {:?}", c.int(0));
    c.host.trace.push(text);
    Step::Done(1)
}

fn matches(c: C<'_, '_>) -> Step<Fake> {
    let text = c.text(0).unwrap_or_default();
    match c.is_match(1, &text) {
        Ok(true) => Step::Done(1),
        Ok(false) => Step::Done(-1),
        Err(why) => Step::Fail(why),
    }
}

fn put(c: C<'_, '_>) -> Step<Fake> {
    let text = c.text(0);
    c.assign(1, Value::opt(text));
    Step::Done(1)
}

fn push(c: C<'_, '_>) -> Step<Fake> {
    let (name, value) = (c.text(0).unwrap_or_default(), c.text(1));
    c.vm().push_avp(&name, Value::opt(value));
    Step::Done(1)
}

/// `ask(question, [answer])`: waits for an answer; the question `now` needs no wait, `stop` ends the script.
fn ask(c: C<'_, '_>) -> Step<Fake> {
    let q = c.text(0).unwrap_or_default().to_string();
    c.state.data.push(Value::from(q.as_str()));
    match q.as_str() {
        "now" => {
            c.assign(1, "at once".into());
            Step::Done(2)
        }
        "stop" => Step::Done(0),
        "broken" => Step::Fail("cannot start".into()),
        _ => Step::Wait(Request::Ask(q)),
    }
}

fn answered(c: C<'_, '_>, o: Outcome) -> Step<Fake> {
    let asked = c.state.data.first().and_then(Value::to_text);
    assert_eq!(asked, c.text(0), "state and arguments travel together");
    match o {
        Outcome::Answer(rc, text) => {
            c.assign(1, text.as_str().into());
            Step::Done(rc)
        }
        Outcome::Failed(..) => Step::Done(-2),
    }
}

/// `ask_lines(question, [answer])`: assigns the answer twice, as lines are.
fn lines(c: C<'_, '_>, o: Outcome) -> Step<Fake> {
    if let Outcome::Answer(_, text) = o {
        c.assign(1, format!("{text}1").as_str().into());
        c.assign(1, format!("{text}2").as_str().into());
    }
    Step::Done(1)
}

/// `thrice(question)`: waits three times.
fn thrice(c: C<'_, '_>) -> Step<Fake> {
    c.state.step = 1;
    Step::Wait(Request::Ask(c.text(0).unwrap_or_default().to_string()))
}

fn thrice_more(c: C<'_, '_>, o: Outcome) -> Step<Fake> {
    let Outcome::Answer(_, text) = o else { return Step::Done(-1) };
    c.host.trace.push(format!("step {} {text}", c.state.step));
    if c.state.step == 3 {
        return Step::Done(3);
    }
    c.state.step += 1;
    Step::Wait(Request::Ask(format!("{text}{}", c.state.step)))
}

const BASE: FnSpec<Fake> = FnSpec {
    opensips: None,
    kamailio: None,
    params: &[],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "",
    returns: &[],
    example: "",
    run: yes,
    finish: None,
};

const QUESTION: &[Param] = &[Param::req("question", Kind::Str), Param::opt("answer", Kind::Out)];

static CORE: ModuleSpec<Fake> = ModuleSpec {
    name: "core",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[
        FnSpec {
            opensips: Some("xlog"),
            kamailio: Some("xlog"),
            params: &[Param::req("text", Kind::Str)],
            run: xlog,
            ..BASE
        },
        FnSpec {
            opensips: Some("ret"),
            kamailio: Some("ret"),
            params: &[Param::req("code", Kind::Int)],
            run: ret,
            ..BASE
        },
        FnSpec { opensips: Some("broken"), run: broken, ..BASE },
        FnSpec {
            opensips: Some("show"),
            params: &[Param::opt("a", Kind::Str), Param::opt("b", Kind::Int), Param::opt("c", Kind::StrOrOut)],
            run: show,
            ..BASE
        },
        FnSpec { opensips: Some("setflag"), params: &[Param::req("flag", Kind::Flag)], run: show, ..BASE },
        FnSpec {
            opensips: Some("matches"),
            params: &[Param::req("text", Kind::Str), Param::req("pattern", Kind::Regex)],
            run: matches,
            ..BASE
        },
        FnSpec { opensips: Some("raw"), params: &[Param::req("text", Kind::Raw)], run: show, ..BASE },
        FnSpec { opensips: Some("subst"), params: &[Param::req("expression", Kind::Subst)], run: show, ..BASE },
        FnSpec { opensips: Some("outs"), params: &[Param::req("to", Kind::OutList)], run: show, ..BASE },
        FnSpec {
            opensips: Some("put"),
            params: &[Param::req("text", Kind::Str), Param::req("to", Kind::Out)],
            run: put,
            ..BASE
        },
        FnSpec {
            opensips: Some("push"),
            params: &[Param::req("name", Kind::Str), Param::req("value", Kind::Str)],
            run: push,
            ..BASE
        },
        FnSpec { opensips: Some("assert"), params: &[Param::req("condition", Kind::Condition)], run: check, ..BASE },
        FnSpec { opensips: Some("reply_only"), routes: RouteSet::of(&[RouteKind::OnReply]), ..BASE },
    ],
    params: &[],
    any_param: false,
    needs: &[],
};

static TM: ModuleSpec<Fake> = ModuleSpec {
    name: "tm",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[
        FnSpec { opensips: Some("t_relay"), routes: RouteSet::letters("RF"), ..BASE },
        FnSpec {
            opensips: Some("t_on_failure"),
            params: &[Param::req("route", Kind::Route(RouteKind::Failure))],
            run: show,
            ..BASE
        },
    ],
    params: &[
        ModParamSpec { name: "fr_timeout", kind: ModParamKind::Int, ignored: false, doc: "" },
        ModParamSpec { name: "db_url", kind: ModParamKind::Str, ignored: false, doc: "" },
    ],
    any_param: false,
    needs: &[],
};

static IO: ModuleSpec<Fake> = ModuleSpec {
    name: "io",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[
        FnSpec {
            opensips: Some("ask"),
            kamailio: Some("ask"),
            params: QUESTION,
            waits: true,
            run: ask,
            finish: Some(answered),
            ..BASE
        },
        FnSpec { opensips: Some("ask_lines"), params: QUESTION, waits: true, run: ask, finish: Some(lines), ..BASE },
        FnSpec {
            opensips: Some("thrice"),
            params: &[Param::req("question", Kind::Str)],
            waits: true,
            run: thrice,
            finish: Some(thrice_more),
            ..BASE
        },
    ],
    params: &[ModParamSpec { name: "db_url", kind: ModParamKind::Str, ignored: false, doc: "" }],
    any_param: false,
    needs: &[],
};

static NEEDY: ModuleSpec<Fake> = ModuleSpec {
    name: "needy",
    dialects: &[Dialect::OpenSips],
    functions: &[],
    params: &[],
    any_param: true,
    needs: &["tm"],
};

static CATALOG: Catalog<Fake> = Catalog { modules: &[&CORE, &TM, &IO, &NEEDY], offers: &[] };

/// Compiles a script with `tm` and `io` loaded.
pub fn program(text: &str) -> Rc<Program<Fake>> {
    let text = format!("loadmodule \"tm.so\" loadmodule \"io.so\"\n{text}");
    let (program, brief) = try_compile(&text);
    match program {
        Some(p) => Rc::new(p),
        None => panic!("{brief}"),
    }
}

/// Runs statements in the Kamailio dialect, with a few routes to call.
pub fn kamailio(body: &str) -> Story {
    let text = format!(
        "request_route {{ {body} }} route[MINUS] {{ return -7; }} route[PLAIN] {{ xlog(\"plain\"); }}
         route[ASSIGN] {{ $var(q) = 1; }} route[ZERO] {{ return 0; }}
         route[BREAK] {{ xlog(\"before\"); if (1) {{ break; }} xlog(\"after\"); }}"
    );
    run_kamailio(&text)
}

/// Runs the main route of a configuration in the Kamailio dialect.
pub fn run_kamailio(text: &str) -> Story {
    match compile_kamailio(text) {
        (Some(program), _) => run_route(&Rc::new(program), RouteKind::Request, None),
        (None, brief) => panic!("{text}: {brief}"),
    }
}

/// The findings about a configuration in the Kamailio dialect.
pub fn kamailio_findings(text: &str) -> String {
    compile_kamailio(text).1
}

fn compile_kamailio(text: &str) -> (Option<Program<Fake>>, String) {
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    let options = Some(Dialect::Kamailio).into();
    let (dialect, config) = parse_text_as("test.cfg", text, &options, &mut map, &mut diags);
    let program = compile::<Fake>(dialect, &config, &map, &mut diags);
    (program, diags.brief(&map))
}

/// The program, if there is one, and the findings as lines.
pub fn try_compile(text: &str) -> (Option<Program<Fake>>, String) {
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    let config = parse_text("test.cfg", text, &mut map, &mut diags);
    let program = compile::<Fake>(Dialect::OpenSips, &config, &map, &mut diags);
    let mut brief = diags.brief(&map);
    for d in diags.list() {
        if let Some(h) = &d.help {
            brief.push_str(&format!("help: {h}\n"));
        }
    }
    (program, brief)
}

/// What a run left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    pub trace: Vec<String>,
    pub log: Vec<String>,
    /// `name=newest,...,oldest`
    pub avps: Vec<String>,
    pub end: End,
    /// What it waited for, in order.
    pub waits: Vec<WaitInfo>,
    pub vars: Vec<Value>,
    pub ruri: Value,
    pub children: Vec<Story>,
}

/// How runs are treated on their way.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Straight,
    /// One instruction at a time, encoded and decoded in between.
    Torture,
}

fn drive(mut run: Run<Fake>, mode: Mode) -> Story {
    let program = run.program().clone();
    let mut waits = Vec::new();
    let mut children = Vec::new();
    let mut turns = 0;
    loop {
        turns += 1;
        assert!(turns < 3_000_000, "the script does not end");
        let mut budget = if mode == Mode::Torture { 1 } else { u32::MAX };
        if mode == Mode::Torture
            && let Ok(bytes) = run.encode()
        {
            run = Run::decode(&bytes, program.clone(), |_| {}).expect("a run that can be decoded");
        }
        match run.go(&mut budget, Time::from_millis(1)) {
            Paused::Budget(r) => run = r,
            Paused::Wait(s, request) => {
                waits.push(s.describe());
                run = travelled(s, mode, &program).resume(answer(&request));
            }
            Paused::Several(s, requests) => run = several(s, requests, mode, &program, &mut waits),
            Paused::Launch { run: r, child } => {
                run = r;
                children.push(match child {
                    Launched::Run(c) => c,
                    Launched::Wait(s, request) => {
                        waits.push(s.describe());
                        travelled(s, mode, &program).resume(answer(&request))
                    }
                });
            }
            Paused::Finished(f) => {
                let shown = |v: &Value| v.to_text().map_or("<null>".into(), |t| t.to_string());
                let avps =
                    f.avps.all().map(|(n, l)| format!("{n}={}", l.map(shown).collect::<Vec<_>>().join(","))).collect();
                return Story {
                    trace: f.host.trace,
                    log: f.host.log,
                    avps,
                    end: f.end,
                    waits,
                    vars: f.vars,
                    ruri: f.host.ruri,
                    children: children.into_iter().map(|c| drive(c, mode)).collect(),
                };
            }
        }
    }
}

/// Carries out several requests: all of them together, the last one first; one by one where the first success
/// ends it. What waits travels in between.
fn several(
    mut s: Suspended<Fake>,
    requests: Vec<(u32, Request)>,
    mode: Mode,
    program: &Rc<Program<Fake>>,
    waits: &mut Vec<WaitInfo>,
) -> Run<Fake> {
    let info = s.several().expect("it waits for several");
    waits.push(s.describe());
    waits.extend(requests.iter().map(|(m, _)| s.describe_member(*m).expect("a member")));
    let mut left = requests;
    loop {
        s = travelled(s, mode, program);
        let now = if info.until == Until::Any { vec![left.remove(0)] } else { std::mem::take(&mut left) };
        let mut ended: Vec<_> = now.iter().map(|(m, request)| (*m, answer(request))).collect();
        ended.reverse();
        match s.members_ended(ended, Time::from_millis(1)) {
            Progress::Over => return travelled(s, mode, program).resume_several(),
            Progress::Waits(more) => left.extend(more),
        }
    }
}

fn travelled(s: Suspended<Fake>, mode: Mode, program: &Rc<Program<Fake>>) -> Suspended<Fake> {
    if mode == Mode::Straight {
        return s;
    }
    let bytes = s.encode().expect("a suspended run can be encoded");
    Suspended::decode(&bytes, program.clone(), |_| {}).expect("a suspended run that can be decoded")
}

/// Runs a route block of a program, both ways.
pub fn run_route(p: &Rc<Program<Fake>>, kind: RouteKind, name: Option<&str>) -> Story {
    let route = p.find_route(kind, name).expect("the route");
    let straight = drive(Run::new(p.clone(), route, Fake::new()), Mode::Straight);
    if straight.trace.len() < 5000 {
        let torture = drive(Run::new(p.clone(), route, Fake::new()), Mode::Torture);
        assert_eq!(straight, torture, "a run that travels at every instruction ends the same");
    }
    straight
}

/// Runs the main route of any program for a while.
pub fn run_quietly(p: Program<Fake>) {
    let Some(route) = p.find_route(RouteKind::Request, None) else { return };
    let mut run = Run::new(Rc::new(p), route, Fake::new());
    let mut budget = 20_000;
    for _ in 0..100 {
        match run.go(&mut budget, Time::ZERO) {
            Paused::Wait(s, request) => run = s.resume(answer(&request)),
            Paused::Several(mut s, requests) => {
                let ended = requests.iter().map(|(m, request)| (*m, answer(request))).collect();
                let _ = s.members_ended(ended, Time::ZERO);
                run = s.resume_several();
            }
            Paused::Launch { run: r, .. } => run = r,
            Paused::Finished(_) | Paused::Budget(_) => return,
        }
    }
}

/// Runs the main route of a script.
pub fn run(text: &str) -> Story {
    run_route(&program(text), RouteKind::Request, None)
}

/// What the main route of this body recorded.
pub fn trace(body: &str) -> Vec<String> {
    run(&format!("route {{ {body} }}")).trace
}

/// Whether a condition holds; `(condition, whether the else branch ran)`.
pub fn holds(setup: &str, cond: &str) -> bool {
    let t = trace(&format!("{setup} if ({cond}) {{ xlog(\"yes\"); }} else {{ xlog(\"no\"); }}"));
    match t.last().map(String::as_str) {
        Some("yes") => true,
        Some("no") => false,
        other => panic!("{cond}: {other:?}"),
    }
}

/// The value an expression gives, as text.
pub fn value_of(setup: &str, var: &str) -> String {
    trace(&format!("{setup} xlog(\"{var}\");")).pop().unwrap_or_default()
}

#[allow(dead_code)]
pub fn arg_list(args: &[Arg]) -> String {
    format!("{args:?}")
}
