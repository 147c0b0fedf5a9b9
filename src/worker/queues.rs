//! `event_route[mqueue:NAME]`: run by a worker when something was added to the queue there, and when something is left
//! over. One run per queue and worker at a time; workers run theirs beside each other, since a pair is taken out once.

use super::state::{Role, RoleKind, Work, Worker};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::ast::RouteKind;
use crate::script::vm::Run;

/// A queue that the script has an event route for.
pub struct Consumer {
    queue: Str,
    route: u32,
    /// The first pair when the run began that is under way: it changes if the run takes something out.
    running: Option<Option<Vec<u8>>>,
    /// Something was added meanwhile.
    more: bool,
}

impl Worker {
    /// Finds the event routes of the queues.
    pub(super) fn find_consumers(&mut self) {
        let program = self.program();
        for queue in &self.env().settings.queues.clone() {
            let name = format!("mqueue:{}", queue.name.to_lossy());
            if let Some(route) = program.find_route(RouteKind::Event, Some(&name)) {
                self.consumers.push(Consumer { queue: queue.name.clone(), route, running: None, more: false });
            }
        }
        self.look_after_queues();
    }

    /// Something was added to a queue here.
    pub(super) fn queued(&mut self, queue: &Str) {
        if let Some(n) = self.consumers.iter().position(|c| c.queue == *queue) {
            self.consume(n);
        }
    }

    /// What was added by a worker that has died since, or before there was traffic, is for the queue's owner.
    pub(super) fn look_after_queues(&mut self) {
        for n in 0..self.consumers.len() {
            let mine = self.consumers.get(n).is_some_and(|c| self.owner_of(&c.queue) == self.me);
            if mine {
                self.consume(n);
            }
        }
    }

    fn consume(&mut self, n: usize) {
        // The startup route may add before anything else may run.
        if !self.traffic {
            return;
        }
        let Some(store) = self.env().store.clone() else { return };
        let Some(consumer) = self.consumers.get_mut(n) else { return };
        if consumer.running.is_some() {
            consumer.more = true;
            return;
        }
        let first = store.queue_first(&consumer.queue).unwrap_or_default();
        if first.is_none() {
            return;
        }
        consumer.running = Some(first);
        let route = consumer.route;
        let host = SipHost::without_message(self.env().clone());
        let run = Run::new(self.program(), route, host);
        self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Queue(n))));
    }

    /// An event route has ended. It runs again if it has left something, unless it takes nothing out.
    pub(super) fn consumer_done(&mut self, n: usize) {
        let Some(consumer) = self.consumers.get_mut(n) else { return };
        let before = consumer.running.take().flatten();
        let more = std::mem::take(&mut consumer.more);
        let queue = consumer.queue.clone();
        let first = self.env().store.as_ref().and_then(|s| s.queue_first(&queue).ok()).flatten();
        if more || first != before {
            self.consume(n);
        }
    }
}
