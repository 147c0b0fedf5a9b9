//! Several functions at once: `async_all`, `await_all`, `async_any`, `await_any`. All are started
//! at one instruction; each goes on as its operation ends; the run goes on once.

use super::ast::{RouteKind, Until};
use super::call::Entry;
use super::exec::{Exec, Flow};
use super::host::Host;
use super::machine::{Machine, Member, MemberResult, Several};
use super::program::Program;
use super::registry::{Arg, FnState, Step};
use super::value::Value;
use super::{Run, Suspended, WaitInfo};
use crate::base::Time;
use std::rc::Rc;

/// `$async_rc` of a function that was cut off, or not even started, since another has succeeded.
pub const CANCELLED_CODE: i32 = -12;

/// How far several functions are.
pub enum Progress<H: Host> {
    /// Enough have ended: the run can go on, and what is still in flight is to be given up.
    Over,
    /// Others are still waited for; these operations are to be carried out besides.
    Waits(Vec<(u32, H::Request)>),
}

/// What is waited for when it is several functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeveralInfo {
    /// When it is over.
    pub until: Until,
    /// Seconds for all of it, if any were given.
    pub timeout_secs: Option<u32>,
}

impl<H: Host> Exec<'_, H> {
    /// `async_all(route) { f(...); g(...); }` and its like.
    pub(super) fn start_several(&mut self, n: u32) -> Flow<H> {
        let p = self.p;
        let Some(site) = p.severals.get(n as usize) else { return Flow::Finish };
        // The operands of the last call lie on top.
        let mut args: Vec<_> = site.members.iter().rev().map(|call| self.args(*call)).collect();
        args.reverse();
        if self.m.kind == RouteKind::Startup && site.route.is_some() {
            self.complain(&format!("{} does nothing in startup_route", site.word));
            self.m.result(-1);
            return Flow::Next;
        }
        if site.members.iter().any(|call| self.may_not_wait(*call)) {
            self.m.result(-1);
            return Flow::Next;
        }
        self.m.outputs.clear();
        self.m.collect = site.route.is_some();
        let mut several = Several { site: n, members: Vec::with_capacity(args.len()) };
        let mut requests = Vec::new();
        for (i, (call, args)) in site.members.iter().zip(args).enumerate() {
            if site.until == Until::Any && several.members.iter().any(Member::succeeded) {
                break;
            }
            let mut member = Member { args: Vec::new(), state: FnState::default(), error: None, ended: None };
            match args {
                Ok(args) => {
                    member.args = args.into_vec();
                    let step = self.step(*call, &mut member, Entry::Run, site.timeout);
                    requests.extend(step.map(|request| (i as u32, request)));
                }
                Err(why) => {
                    self.complain(&why);
                    member.fail(why);
                }
            }
            several.members.push(member);
        }
        // What succeeded at once leaves the others unstarted.
        several.members.resize_with(site.members.len(), Member::unstarted);
        let over = several.is_over(site.until);
        self.m.several = Some(Box::new(several));
        if over {
            self.m.end_several(p);
            return Flow::Next;
        }
        Flow::Several(requests)
    }

    /// One step of a member: the operation it waits for, if it has not ended.
    fn step(&mut self, call: u32, member: &mut Member, entry: Entry<H>, timeout: Option<u32>) -> Option<H::Request> {
        match self.invoke(call, &member.args, &mut member.state, entry, timeout, None) {
            Step::Done(code) => member.ended = Some(code),
            Step::Continue(_) | Step::Route(_) | Step::Beside { .. } => member.ended = Some(1),
            Step::Fail(why) => {
                self.complain(&why);
                if member.error.is_none() {
                    member.fail(why);
                }
                member.ended = Some(-1);
            }
            Step::Wait(request) => return Some(request),
        }
        None
    }
}

impl Member {
    fn unstarted() -> Member {
        Member { args: Vec::<Arg>::new(), state: FnState::default(), error: None, ended: None }
    }

    fn fail(&mut self, why: String) {
        self.error = Some((why, String::new()));
        self.ended = Some(-1);
    }

    fn succeeded(&self) -> bool {
        self.ended.is_some_and(|rc| rc > 0)
    }
}

impl Several {
    fn is_over(&self, until: Until) -> bool {
        self.members.iter().all(|m| m.ended.is_some())
            || (until == Until::Any && self.members.iter().any(Member::succeeded))
    }
}

fn code(rc: i32) -> Value {
    Value::Int(rc.into())
}

impl Machine {
    /// Goes on behind several functions, or in their resume route. What has not ended is given up.
    fn end_several<H: Host>(&mut self, program: &Program<H>) {
        let Some(several) = self.several.take() else { return };
        let Some(site) = program.severals.get(several.site as usize) else { return };
        let failed = several.members.iter().filter(|m| !m.succeeded()).count();
        let winner = several.members.iter().position(Member::succeeded);
        let (rc, well) = match (site.until, winner) {
            (Until::All, _) => (i32::try_from(failed).unwrap_or(i32::MAX), failed == 0),
            (Until::Any, Some(first)) => (i32::try_from(first).unwrap_or(i32::MAX).saturating_add(1), true),
            (Until::Any, None) => (-1, false),
        };
        let shown = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
        let results = several.members.iter().map(|m| match (m.ended, &m.error) {
            (None, _) => MemberResult { rc: code(CANCELLED_CODE), err: Value::from("cancelled"), phase: Value::Null },
            (Some(rc), None) => MemberResult { rc: code(rc), err: Value::Null, phase: Value::Null },
            (Some(rc), Some((why, phase))) => MemberResult { rc: code(rc), err: shown(why), phase: shown(phase) },
        });
        self.results = results.collect();
        // The reason of the first that failed; where one success is enough, it went well.
        let first = if well { None } else { self.results.iter().find(|r| !r.err.is_null()) };
        let (err, phase) = first.map_or((Value::Null, Value::Null), |r| (r.err.clone(), r.phase.clone()));
        (self.async_err, self.async_phase) = (err, phase);
        match site.route {
            Some(route) => self.resume_in(program, route, rc),
            None => self.rc = rc,
        }
        // No failure is no reason to end the script.
        self.last = if well { 1 } else { -1 };
    }
}

impl<H: Host> Suspended<H> {
    /// Whether it waits for several functions.
    pub fn several(&self) -> Option<SeveralInfo> {
        let site = self.0.machine.several.as_ref()?.site;
        let site = self.0.program.severals.get(site as usize)?;
        Some(SeveralInfo { until: site.until, timeout_secs: site.timeout })
    }

    /// What one of several functions waits for.
    pub fn describe_member(&self, member: u32) -> Option<WaitInfo> {
        let program = &self.0.program;
        let several = program.severals.get(self.0.machine.several.as_ref()?.site as usize)?;
        let site = program.sites.get(*several.members.get(member as usize)? as usize)?;
        Some(WaitInfo {
            function: site.name.to_string(),
            route: program.route(site.route).map_or(String::new(), |r| r.label()),
            file: program.files.get(site.file as usize).cloned().unwrap_or_default(),
            line: site.line,
            via_async: several.route.is_some(),
            launched: false,
            timeout_secs: several.timeout,
        })
    }

    /// Hands over what came of operations of several functions: these go on, in the order written. `now`
    /// is the time of this turn of the loop.
    pub fn members_ended(&mut self, mut ended: Vec<(u32, H::Outcome)>, now: Time) -> Progress<H> {
        let state = &mut *self.0;
        let program = Rc::clone(&state.program);
        let Some(mut several) = state.machine.several.take() else { return Progress::Over };
        let Some(site) = program.severals.get(several.site as usize) else { return Progress::Over };
        ended.sort_by_key(|(member, _)| *member);
        let mut requests = Vec::new();
        let mut exec = Exec { p: &program, m: &mut state.machine, host: &mut state.host, now };
        for (number, outcome) in ended {
            let (Some(member), Some(call)) =
                (several.members.get_mut(number as usize), site.members.get(number as usize))
            else {
                continue;
            };
            if member.ended.is_some() {
                continue;
            }
            member.error = H::outcome_error(&outcome).map(|(why, phase)| (why, phase.to_string()));
            let step = exec.step(*call, member, Entry::Finish(outcome), site.timeout);
            requests.extend(step.map(|request| (number, request)));
        }
        let over = several.is_over(site.until);
        state.machine.several = Some(several);
        if over { Progress::Over } else { Progress::Waits(requests) }
    }

    /// Goes on, once [`Suspended::members_ended`] has said that it is over. Whatever has not ended
    /// counts as cancelled.
    pub fn resume_several(mut self) -> Run<H> {
        let program = Rc::clone(&self.0.program);
        self.0.machine.end_several(&program);
        Run(self.0)
    }
}
