//! Timer routes, event routes and the startup route.

use super::seat::ToMain;
use super::state::{Role, RoleKind, Work, Worker};
use crate::base::{Key, Str, Time, TimerKey};
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::net::reactor::Source;
use crate::script::ast::{Dialect, RouteKind};
use crate::script::value::Value;
use crate::script::vm::Run;
use std::time::Duration;

/// Something that is done again and again, in one worker at a time.
pub struct TimerJob {
    what: What,
    name: String,
    interval: Duration,
    /// Which of the jobs of an `rtimer` timer it is.
    number: Option<usize>,
    /// How many of its runs have not ended.
    running: usize,
    /// Armed for then, if the job is this worker's.
    timer: Option<TimerKey>,
}

/// What a job does.
#[derive(Clone)]
enum What {
    /// Runs these routes.
    Routes(Vec<u32>),
    /// Takes out the items of tables that have ended.
    Items,
    /// Forgets calls that were followed long enough.
    Dialogs,
    /// Asks destinations whether they live.
    Pings,
    /// Takes out the calls of destinations that nobody has ended.
    Calls,
    /// Looks up the names of destinations.
    Names,
    /// Keeps the ways to contacts open.
    Ways,
    /// Asks contacts whether they are there.
    Asks,
    /// Looks after the connections of contacts.
    Conns,
    /// Loads a table again.
    Table(Str),
    /// Looks after the contacts of users.
    Contacts,
    /// Registers what is ours at others' registrars.
    Registrations,
}

impl TimerJob {
    fn new(what: What, name: String, interval: Duration) -> TimerJob {
        TimerJob { what, name, interval, number: None, running: 0, timer: None }
    }
}

/// The first of the server's ticks of this interval that is later than `now`. They are counted from the
/// server's start: who takes a job over repeats no tick and shifts none.
fn next_tick(started: Time, interval: Duration, now: Time) -> Time {
    let step = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1);
    let past = now.as_micros().saturating_sub(started.as_micros());
    let ticks = (past / step).saturating_add(1);
    Time::from_micros(started.as_micros().saturating_add(ticks.saturating_mul(step)))
}

impl Worker {
    /// Arms the timer routes that are this worker's: each job runs in exactly one worker, by its name.
    pub(super) fn arm_timer_routes(&mut self) {
        let program = self.program();
        for (number, route) in program.routes_of(RouteKind::Timer) {
            let name = route.name.clone().unwrap_or_default().to_string();
            let seconds = route.interval.unwrap_or(0);
            if seconds > 0 {
                let interval = Duration::from_secs(u64::from(seconds));
                self.timers.push(TimerJob::new(What::Routes(vec![number]), name, interval));
            }
        }
        self.rtimers();
        if !self.env().settings.tables.is_empty() {
            for table in self.env().settings.tables.clone().into_iter().filter(|t| t.reload > 0) {
                let name = format!("htable#{}", table.name.to_lossy());
                let interval = Duration::from_secs(table.reload.into());
                self.timers.push(TimerJob::new(What::Table(table.name), name, interval));
            }
            let interval = self.env().settings.table_interval;
            self.timers.push(TimerJob::new(What::Items, "htable".to_string(), interval));
        }
        self.dispatcher_jobs();
        if let Some(interval) = self.natping_interval() {
            self.timers.push(TimerJob::new(What::Ways, "nathelper".to_string(), interval));
        }
        if self.env().settings.dialogs.loaded {
            let interval = self.env().settings.dialogs.interval;
            self.timers.push(TimerJob::new(What::Dialogs, "dlgs".to_string(), interval));
        }
        if let Some(interval) = self.location_interval() {
            self.timers.push(TimerJob::new(What::Contacts, "usrloc".to_string(), interval));
            if self.env().settings.usrloc.lost_tcp {
                self.timers.push(TimerJob::new(What::Conns, "usrloc:connections".to_string(), interval));
            }
        }
        if let Some(interval) = self.keepalive_interval() {
            self.timers.push(TimerJob::new(What::Asks, "usrloc:keepalive".to_string(), interval));
        }
        if self.registers() {
            self.timers.push(TimerJob::new(What::Registrations, "uac".to_string(), super::registrant::INTERVAL));
        }
        self.share_timer_routes();
    }

    /// What has to be done for destinations from time to time.
    fn dispatcher_jobs(&mut self) {
        let settings = &self.env().settings.dispatcher;
        if !settings.loaded {
            return;
        }
        let (pings, calls, counts) = (settings.interval, settings.call_check, settings.counts_calls);
        self.timers.push(TimerJob::new(What::Names, "dispatcher:names".to_string(), Duration::from_secs(1)));
        if !pings.is_zero() {
            self.timers.push(TimerJob::new(What::Pings, "dispatcher".to_string(), pings));
        }
        if counts {
            self.timers.push(TimerJob::new(What::Calls, "dispatcher:calls".to_string(), calls));
        }
    }

    /// The timers of `rtimer`: each of a timer's jobs is one of its own, in whichever worker.
    fn rtimers(&mut self) {
        let program = self.program();
        for timer in &self.env().settings.rtimers.clone() {
            let find = |name: &String| program.find_route(RouteKind::Request, Some(name));
            let routes: Vec<u32> = timer.routes.iter().filter_map(find).collect();
            if routes.is_empty() {
                continue;
            }
            for number in 0..timer.jobs {
                let name = format!("{}#{number}", timer.name.to_lossy());
                let mut job = TimerJob::new(What::Routes(routes.clone()), name, timer.interval);
                job.number = Some(number);
                self.timers.push(job);
            }
        }
    }

    /// Takes on the jobs that are this worker's now, and lets go of those that are another's: once at
    /// the start, and whenever a seat becomes empty or is taken again.
    pub(super) fn share_timer_routes(&mut self) {
        for index in 0..self.timers.len() {
            let Some(job) = self.timers.get(index) else { continue };
            let mine = self.owner_of(job.name.as_bytes()) == self.me;
            let interval = job.interval;
            match job.timer {
                None if mine => self.arm_timer_route(index, interval),
                Some(timer) if !mine => {
                    self.reactor.io(self.now).disarm(timer);
                    if let Some(job) = self.timers.get_mut(index) {
                        job.timer = None;
                    }
                }
                _ => {}
            }
        }
    }

    /// How many timers of the wheel are timer routes'.
    pub(super) fn armed_timer_routes(&self) -> usize {
        self.timers.iter().filter(|j| j.timer.is_some()).count()
    }

    fn arm_timer_route(&mut self, index: usize, interval: Duration) {
        self.arm_job_at(index, next_tick(self.started, interval, self.now));
    }

    fn arm_job_at(&mut self, index: usize, at: Time) {
        let key = Key { index: index as u32, generation: 1 };
        let timer = self.reactor.io(self.now).arm(at, Source::Worker, key);
        if let Some(job) = self.timers.get_mut(index) {
            job.timer = Some(timer);
        }
    }

    /// A timer route is due. One whose previous run still waits is not started again.
    pub(super) fn timer_due(&mut self, key: Key) {
        let Some(job) = self.timers.get_mut(key.index as usize) else { return };
        job.timer = None;
        let (what, interval) = (job.what.clone(), job.interval);
        let number = job.number;
        let routes = match what {
            What::Routes(routes) => routes,
            What::Pings => {
                self.ping_destinations();
                return self.arm_timer_route(key.index as usize, interval);
            }
            What::Ways => {
                return match self.ping_contacts() {
                    Some(soon) => self.arm_job_at(key.index as usize, self.now + soon),
                    None => self.arm_timer_route(key.index as usize, interval),
                };
            }
            What::Names => {
                self.look_up_destinations();
                return self.arm_timer_route(key.index as usize, interval);
            }
            What::Calls => {
                let more = crate::modules::dispatcher::calls::expire(self.env());
                return match more {
                    Ok(true) => self.arm_job_at(key.index as usize, self.now + Duration::from_millis(10)),
                    _ => self.arm_timer_route(key.index as usize, interval),
                };
            }
            What::Table(name) => {
                if let Err(why) = self.reload_table(&name) {
                    emit(-1, "htable", &why);
                }
                return self.arm_timer_route(key.index as usize, interval);
            }
            What::Items | What::Contacts | What::Dialogs | What::Asks | What::Conns | What::Registrations => {
                let again = match what {
                    What::Items => self.expire_items(),
                    What::Registrations => self.look_after_registrations(),
                    What::Contacts => self.look_after_contacts(),
                    What::Asks => self.ask_contacts(),
                    What::Conns => self.look_after_connections(),
                    _ => self.forget_dialogs(),
                };
                return match again {
                    Some(soon) => self.arm_job_at(key.index as usize, self.now + soon),
                    None => self.arm_timer_route(key.index as usize, interval),
                };
            }
        };
        if job.running > 0 {
            // A timer of `rtimer` counts its time from the end of its work on.
            if number.is_none() {
                emit(1, "timer", &format!("timer_route[{}] is still running: skipped once", job.name));
            }
        } else {
            job.running = routes.len();
            for route in routes {
                let mut host = SipHost::without_message(self.env().clone());
                host.event.extend(number.map(|n| (Str::from("rtimer_worker"), Str::from(n.to_string()))));
                let run = Run::new(self.program(), route, host);
                self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Timer(key.index as usize))));
            }
        }
        self.arm_timer_route(key.index as usize, interval);
    }

    /// A timer route has ended.
    pub(super) fn timer_done(&mut self, number: usize) {
        if let Some(job) = self.timers.get_mut(number) {
            job.running = job.running.saturating_sub(1);
        }
    }

    /// Runs the event route of this name, if the script has one.
    pub(super) fn raise_event(&mut self, name: &Str, params: Vec<(Str, Str)>) {
        let Ok(text) = std::str::from_utf8(name) else { return };
        let program = self.program();
        let Some(route) = program.find_route(RouteKind::Event, Some(text)) else { return };
        let mut host = SipHost::without_message(self.env().clone());
        host.event = params.clone().into();
        // The destination that it is about is the R-URI.
        if name.starts_with(b"dispatcher:") {
            host.ruri = params.iter().find(|(n, _)| **n == *b"address").map(|(_, uri)| uri.clone());
        }
        let named = params.into_iter().map(|(n, v)| (Some(n), Value::Str(v))).collect();
        let run = Run::new(program, route, host).with_params(named);
        self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Event)));
    }

    /// Takes over what the startup route left.
    pub(super) fn begin_with(&mut self, vars: &[u8]) {
        if let Ok(vars) = postcard::from_bytes(vars) {
            self.blueprint.program.set_initial_vars(vars);
        }
    }

    /// Starts the startup route, or what else runs before there is traffic, from its `n`th on; after the last
    /// main is told.
    pub(super) fn startup(&mut self, n: usize) {
        let program = self.program();
        let event =
            |name| program.find_route(RouteKind::Event, Some(name)).filter(|_| program.dialect == Dialect::Kamailio);
        let all = [event("core:modinit-before"), event("htable:mod-init"), self.routes.startup];
        match all.into_iter().flatten().nth(n) {
            Some(route) => {
                let host = SipHost::without_message(self.env().clone());
                let run = Run::new(program, route, host);
                self.drive(run, Role::new(RoleKind::Startup(n)));
            }
            None => {
                if n > 0 {
                    self.share_startup();
                }
                self.tell_main(&ToMain::StartupDone(Ok(())));
            }
        }
    }

    /// The `$var` values that were left are those that every run begins with, in every worker. Main keeps them for
    /// the workers that come later.
    fn share_startup(&mut self) {
        let vars = self.blueprint.program.initial_vars().to_vec();
        if let Ok(bytes) = postcard::to_allocvec(&vars) {
            self.tell_main(&ToMain::StartVars(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_counted_from_the_start() {
        let at = |s: u64| Time::from_millis(s * 1000);
        let every = Duration::from_secs(10);
        assert_eq!(next_tick(at(3), every, at(3)), at(13));
        assert_eq!(next_tick(at(3), every, at(12)), at(13));
        // The tick that is due now belongs to who held the job until now.
        assert_eq!(next_tick(at(3), every, at(13)), at(23));
        assert_eq!(next_tick(at(3), every, at(14)), at(23));
        assert_eq!(next_tick(at(3), every, at(1)), at(13));
        assert!(next_tick(at(3), Duration::MAX, at(14)) > at(1_000_000));
    }
}
