//! Timer routes, event routes and the startup route.

use super::seat::ToMain;
use super::state::{Role, RoleKind, Work, Worker};
use crate::base::{Key, Str};
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::net::reactor::Source;
use crate::script::ast::RouteKind;
use crate::script::value::Value;
use crate::script::vm::Run;
use std::time::Duration;

/// A timer route that this worker runs.
pub struct TimerJob {
    route: u32,
    name: String,
    interval: Duration,
    running: bool,
}

impl Worker {
    /// Arms the timer routes that are this worker's: each job runs in exactly one worker, by its name.
    pub(super) fn arm_timer_routes(&mut self) {
        let program = self.program();
        for (number, route) in program.routes_of(RouteKind::Timer) {
            let name = route.name.clone().unwrap_or_default().to_string();
            let seconds = route.interval.unwrap_or(0);
            if seconds == 0 || self.owner_of(name.as_bytes()) != self.me {
                continue;
            }
            let interval = Duration::from_secs(u64::from(seconds));
            let key = Key { index: self.timers.len() as u32, generation: 1 };
            self.timers.push(TimerJob { route: number, name, interval, running: false });
            self.reactor.io(self.now).arm(self.now + interval, Source::Worker, key);
        }
    }

    /// A timer route is due. One whose previous run still waits is not started again.
    pub(super) fn timer_due(&mut self, key: Key) {
        let Some(job) = self.timers.get_mut(key.index as usize) else { return };
        let (route, again) = (job.route, self.now + job.interval);
        let busy = std::mem::replace(&mut job.running, true);
        if busy {
            emit(1, "timer", &format!("timer_route[{}] is still running: skipped once", job.name));
        } else {
            let host = SipHost::without_message(self.env().clone());
            let run = Run::new(self.program(), route, host);
            self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Timer(key.index as usize))));
        }
        self.reactor.io(self.now).arm(again, Source::Worker, key);
    }

    /// A timer route has ended.
    pub(super) fn timer_done(&mut self, number: usize) {
        if let Some(job) = self.timers.get_mut(number) {
            job.running = false;
        }
    }

    /// Runs the event route of this name, if the script has one.
    pub(super) fn raise_event(&mut self, name: &Str, params: Vec<(Str, Str)>) {
        let Ok(text) = std::str::from_utf8(name) else { return };
        let program = self.program();
        let Some(route) = program.find_route(RouteKind::Event, Some(text)) else { return };
        let mut host = SipHost::without_message(self.env().clone());
        host.event.clone_from(&params);
        let named = params.into_iter().map(|(n, v)| (Some(n), Value::Str(v))).collect();
        let run = Run::new(program, route, host).with_params(named);
        self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Event)));
    }

    /// Starts the startup route; without one it is done at once.
    pub(super) fn startup(&mut self) {
        match self.routes.startup {
            Some(route) => {
                let host = SipHost::without_message(self.env().clone());
                let run = Run::new(self.program(), route, host);
                self.drive(run, Role::new(RoleKind::Startup));
            }
            None => self.tell_main(&ToMain::StartupDone(Ok(()))),
        }
    }

    /// The startup route has ended: its `$var` values are those that every run begins with, in
    /// every worker. Main keeps them for the workers that come later.
    pub(super) fn share_startup(&mut self, vars: &[Value]) {
        if let Ok(bytes) = postcard::to_allocvec(vars) {
            self.tell_main(&ToMain::StartVars(bytes));
        }
        self.tell_main(&ToMain::StartupDone(Ok(())));
    }
}
