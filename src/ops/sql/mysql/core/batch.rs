//! Several statements that are one transaction: each is sent when the one before it has been carried out, and what fails takes
//! back all of them.

use super::*;
use std::collections::VecDeque;

/// What is left of a transaction.
#[derive(Debug)]
pub(super) struct Batch {
    /// Statements that are still to be sent.
    rest: VecDeque<(Str, Vec<SqlValue>)>,
    /// Rows that were changed so far.
    affected: u64,
    /// The answer of the last statement before the end.
    last: Option<SqlResult>,
    /// All has been done: the answer to come is the end's.
    committing: bool,
}

impl Core {
    /// Sends statements that are one transaction. Only after [`Event::Ready`]; there is one [`Event::Answer`] for all of
    /// them. If they cannot be sent, nothing changes.
    pub fn transaction(
        &mut self,
        first: &Str,
        parameters: &[SqlValue],
        then: &[(Str, Vec<SqlValue>)],
    ) -> Result<(), Failure> {
        let bad = |text: &str| Failure::new(Why::BadRequest, Phase::Send, text);
        if self.state != State::Idle {
            return Err(bad("the connection is not ready"));
        }
        let all = || std::iter::once((first, parameters)).chain(then.iter().map(|(q, p)| (q, &p[..])));
        if all().any(|(query, values)| statement::size(values).saturating_add(query.len()) > MAX_QUERY) {
            return Err(bad("a statement is longer than 16 MB"));
        }
        if all().any(|(_, values)| values.len() > usize::from(u16::MAX)) {
            return Err(bad("more than 65535 parameters"));
        }
        self.purpose = Purpose::Client;
        // What one of them leaves is there behind all of them.
        self.leaves = all().map(|(query, _)| leaves(query)).find(|l| *l != Leaves::Nothing).unwrap_or(Leaves::Nothing);
        let rest = all().map(|(query, values)| (query.clone(), values.to_vec())).collect();
        self.batch = Some(Box::new(Batch { rest, affected: 0, last: None, committing: false }));
        self.command(COM_QUERY, b"BEGIN");
        self.state = State::Header;
        Ok(())
    }

    /// A statement of a transaction has been answered: the next one is sent, or the answer for all of them and whether the
    /// server is still in the transaction (as a status).
    pub(super) fn go_on_with(
        &mut self,
        mut batch: Box<Batch>,
        result: Result<SqlResult, Failure>,
    ) -> Option<(Result<SqlResult, Failure>, u16)> {
        let done = match result {
            Ok(done) => done,
            // Nothing of it is to stay.
            Err(failure) => return Some((Err(failure), IN_TRANSACTION)),
        };
        if batch.committing {
            let last = batch.last.take().unwrap_or_default();
            return Some((Ok(SqlResult { affected: batch.affected, ..last }), 0));
        }
        batch.affected = batch.affected.saturating_add(done.affected);
        batch.last = Some(done);
        let Some((query, values)) = batch.rest.pop_front() else {
            batch.committing = true;
            self.batch = Some(batch);
            self.command(COM_QUERY, b"COMMIT");
            self.state = State::Header;
            return None;
        };
        self.batch = Some(batch);
        match self.send_statement(&query, &values) {
            Ok(()) => None,
            Err(failure) => {
                self.batch = None;
                Some((Err(failure), IN_TRANSACTION))
            }
        }
    }
}
