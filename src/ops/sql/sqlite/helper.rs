//! The helper process: executes SQLite for all workers.
//!
//! It is no worker and may block: a thread for each worker's connection reads requests, and each
//! database has threads of its own that execute them, so that a slow query delays nobody but
//! writers of the same file. The helper ends when `stop` does: its other end is held by main.

use super::execute::{Session, Turn, Wanted};
use super::wire::{AtHelper, Bytes, Head, MAX_REQUEST, Query, Reply, Value, frame, head};
use crate::base::Time;
use crate::net::reactor::clock;
use crate::ops::{Failure, Phase, Why};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the helper may use.
#[derive(Clone, Debug)]
pub struct HelperConfig {
    /// Threads of one database, at most: so many of its queries run at once.
    pub threads: usize,
    /// Queries of one database that wait for a thread, at most.
    pub queue: usize,
    /// Databases, at most.
    pub databases: usize,
    /// Connections from workers, at most.
    pub connections: usize,
    /// A query that takes longer is logged; zero = none is.
    pub slow: Duration,
    /// A thread that had nothing to do for so long ends.
    pub idle: Duration,
}

impl Default for HelperConfig {
    fn default() -> Self {
        HelperConfig {
            threads: 32,
            queue: 10_000,
            databases: 64,
            connections: 1024,
            slow: Duration::from_millis(500),
            idle: Duration::from_secs(30),
        }
    }
}

/// Runs the helper until `stop` can be read or is at its end. Returns the process's exit status.
pub fn helper_main(listener: UnixListener, stop: Option<OwnedFd>, config: HelperConfig) -> i32 {
    let helper = Arc::new(Helper { config, databases: Mutex::new(HashMap::new()), links: Mutex::new(0) });
    loop {
        let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        fds.extend(stop.as_ref().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => {
                log::error!("sqlite helper: poll: {e}");
                return 1;
            }
        }
        if fds.get(1).is_some_and(|f| f.any() == Some(true)) {
            return 0;
        }
        if fds.first().and_then(PollFd::any) != Some(true) {
            continue;
        }
        match listener.accept() {
            Ok((stream, _)) => helper.clone().welcome(stream),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => {}
            Err(e) => {
                log::error!("sqlite helper: accept: {e}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

struct Helper {
    config: HelperConfig,
    databases: Mutex<HashMap<PathBuf, Arc<Database>>>,
    links: Mutex<usize>,
}

/// A worker's connection.
struct Link {
    stream: Mutex<UnixStream>,
    running: Mutex<HashMap<u64, Arc<Wanted>>>,
}

struct Job {
    link: Arc<Link>,
    query: Query<Value, Bytes>,
    wanted: Arc<Wanted>,
}

struct Database {
    path: PathBuf,
    work: Mutex<Work>,
    arrived: Condvar,
    turn: Turn,
}

#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Helper {
    /// Serves one worker's connection on a thread of its own.
    fn welcome(self: Arc<Self>, stream: UnixStream) {
        {
            let mut links = lock(&self.links);
            if *links >= self.config.connections {
                log::warn!("sqlite helper: more than {} connections", self.config.connections);
                return;
            }
            *links += 1;
        }
        let helper = self.clone();
        let named = std::thread::Builder::new().name("link".to_string());
        let spawned = named.spawn(move || {
            if let Err(e) = helper.serve(stream) {
                log::debug!("sqlite helper: a worker's connection ended: {e}");
            }
            *lock(&helper.links) -= 1;
        });
        if let Err(e) = spawned {
            log::error!("sqlite helper: no thread: {e}");
            *lock(&self.links) -= 1;
        }
    }

    fn serve(&self, mut stream: UnixStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        let writer = stream.try_clone()?;
        // A worker that does not read its answers is gone.
        writer.set_write_timeout(Some(Duration::from_secs(5)))?;
        let link = Arc::new(Link { stream: Mutex::new(writer), running: Mutex::new(HashMap::new()) });
        let outcome = self.read(&mut stream, &link);
        for wanted in lock(&link.running).values() {
            wanted.cancelled.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn read(&self, stream: &mut UnixStream, link: &Arc<Link>) -> std::io::Result<()> {
        let mut buffer = Vec::new();
        let mut chunk = vec![0u8; 64 * 1024];
        loop {
            let mut at = 0;
            loop {
                match head::<AtHelper>(buffer.get(at..).unwrap_or_default(), MAX_REQUEST) {
                    Head::Partial => break,
                    Head::Garbage => return Err(std::io::ErrorKind::InvalidData.into()),
                    Head::Message(message, length) => {
                        at += length;
                        self.take(message, link);
                    }
                }
            }
            buffer.drain(..at);
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(n) => buffer.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn take(&self, message: AtHelper, link: &Arc<Link>) {
        match message {
            AtHelper::Cancel { id } => {
                if let Some(wanted) = lock(&link.running).get(&id) {
                    wanted.cancelled.store(true, Ordering::Relaxed);
                }
            }
            AtHelper::Query(query) => {
                let wanted = Arc::new(Wanted::until(Time::from_micros(query.deadline)));
                lock(&link.running).insert(query.id, wanted.clone());
                self.submit(Job { link: link.clone(), query, wanted });
            }
        }
    }

    /// Queues a job at its database and sees to a thread for it; or says at once that this cannot be.
    fn submit(&self, job: Job) {
        let overload = |text: String| Err(Failure::new(Why::Overload, Phase::Queue, text));
        let path = PathBuf::from(&job.query.path);
        let database = {
            let mut databases = lock(&self.databases);
            if !databases.contains_key(&path) && databases.len() >= self.config.databases {
                databases.retain(|_, d| lock(&d.work).threads > 0);
                if databases.len() >= self.config.databases {
                    drop(databases);
                    return job.answer(overload(format!("more than {} databases", self.config.databases)));
                }
            }
            databases.entry(path.clone()).or_insert_with(|| Arc::new(Database::new(path))).clone()
        };
        let mut work = lock(&database.work);
        if work.jobs.len() >= self.config.queue {
            let text = format!("{} queries wait already", work.jobs.len());
            drop(work);
            return job.answer(overload(text));
        }
        work.jobs.push_back(job);
        if work.idle >= work.jobs.len() || work.threads >= self.config.threads {
            database.arrived.notify_one();
            return;
        }
        let (thread, config) = (database.clone(), self.config.clone());
        let spawned = std::thread::Builder::new().name("query".to_string()).spawn(move || thread.execute(&config));
        match spawned {
            Ok(_) => work.threads += 1,
            Err(e) if work.threads == 0 => {
                let job = work.jobs.pop_back();
                drop(work);
                if let Some(job) = job {
                    job.answer(Err(Failure::new(Why::System, Phase::Queue, e.to_string())));
                }
            }
            // The threads there are will come to it.
            Err(e) => log::warn!("sqlite helper: no thread: {e}"),
        }
    }
}

impl Database {
    fn new(path: PathBuf) -> Database {
        Database { path, work: Mutex::new(Work::default()), arrived: Condvar::new(), turn: Turn::default() }
    }

    /// One thread's life: a connection of its own, and job after job.
    fn execute(&self, config: &HelperConfig) {
        let mut session: Option<Session> = None;
        while let Some(job) = self.next(config.idle) {
            if job.wanted.over().is_some() {
                job.forget();
                continue;
            }
            session = session.filter(Session::is_current);
            let opened = match session.take() {
                Some(s) => Ok(s),
                None => Session::open(&self.path),
            };
            let begin = clock();
            let outcome = opened.and_then(|mut s| {
                let outcome = s.run(&job.query, &job.wanted, &self.turn);
                session = Some(s);
                outcome
            });
            let took = clock().since(begin);
            if took >= config.slow && !config.slow.is_zero() {
                let text: String = String::from_utf8_lossy(&job.query.query.0).chars().take(200).collect();
                log::warn!("slow query, {} ms, on sqlite://{}: {text}", took.as_millis(), self.path.display());
            }
            job.answer(outcome);
        }
    }

    /// The next job; `None` when there was none for so long that the thread may end.
    fn next(&self, idle: Duration) -> Option<Job> {
        let mut work = lock(&self.work);
        loop {
            if let Some(job) = work.jobs.pop_front() {
                return Some(job);
            }
            work.idle += 1;
            let (guard, timeout) = self.arrived.wait_timeout(work, idle).unwrap_or_else(PoisonError::into_inner);
            work = guard;
            work.idle -= 1;
            if timeout.timed_out() && work.jobs.is_empty() {
                work.threads -= 1;
                return None;
            }
        }
    }
}

impl Job {
    fn forget(&self) {
        lock(&self.link.running).remove(&self.query.id);
    }

    /// Sends the outcome, unless nobody waits for it.
    fn answer(self, outcome: Result<crate::ops::SqlResult, Failure>) {
        self.forget();
        if self.wanted.cancelled.load(Ordering::Relaxed) {
            return;
        }
        let reply = Reply { id: self.query.id, outcome };
        let Ok(frame) = frame(&reply) else { return };
        let mut stream = lock(&self.link.stream);
        if stream.write_all(&frame).is_err() {
            // Half a frame may have left: nothing more can be said on this connection.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}
