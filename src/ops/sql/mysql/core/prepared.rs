//! Prepared statements: preparing, executing, and keeping them for the next time.

use super::*;

impl Core {
    /// Sends a query with values: with a statement that is kept, or preparing one.
    pub(super) fn query_with(&mut self, query: &[u8], parameters: &[SqlValue]) -> Result<(), Failure> {
        if parameters.len() > usize::from(u16::MAX) {
            return Err(Failure::new(Why::BadRequest, Phase::Send, "more than 65535 parameters"));
        }
        match self.statements.find(query) {
            Some((_, wanted)) if usize::from(wanted) != parameters.len() => {
                return Err(mismatch(wanted, parameters.len()));
            }
            Some((id, _)) => {
                self.statement = Some(Running { id, kept: true, fresh: false });
                self.text = Str::from(query);
                self.parameters = parameters.to_vec();
                self.execute();
            }
            None => {
                self.text = Str::from(query);
                self.parameters = parameters.to_vec();
                self.prepare();
            }
        }
        Ok(())
    }

    fn prepare(&mut self) {
        let text = self.text.clone();
        self.command(COM_STMT_PREPARE, &text);
        self.state = State::Prepare;
    }

    /// The server does not know a statement (any more) that was kept: once more from the beginning.
    /// False if that is not what the error is about.
    pub(super) fn prepare_again(&mut self, error: &[u8]) -> bool {
        let unknown = error.get(1..3) == Some(&UNKNOWN_STATEMENT.to_le_bytes()[..]);
        match self.statement {
            Some(Running { id, kept: true, fresh: false }) if unknown => {
                self.statements.forget(id);
                self.statement = None;
                self.result_sets = 0;
                self.prepare();
                true
            }
            _ => false,
        }
    }

    /// COM_STMT_PREPARE_OK: the statement's number, then definitions nobody needs.
    pub(super) fn prepared(&mut self, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        let mut r = Reader(payload);
        match r.u8() {
            Some(0x00) => {}
            Some(0xff) => {
                let failure = Failure::new(Why::Denied, Phase::Wait, server_error(payload));
                self.end_of_answer(Err(failure), 0, events);
                return Ok(());
            }
            _ => return Err(self.garbage("answer to a prepared statement")),
        }
        let mut fields = || Some((r.u32()?, r.u16()?, r.u16()?));
        let (id, columns, parameters) = fields().ok_or_else(|| self.garbage("answer to a prepared statement"))?;
        self.statement = Some(Running { id, kept: false, fresh: true });
        if usize::from(parameters) != self.parameters.len() {
            // Said when the definitions that follow have been read.
            self.mismatch = Some(mismatch(parameters, self.parameters.len()));
        }
        let ends = u8::from(columns > 0) + u8::from(parameters > 0);
        self.state = State::PrepareSkip { definitions: u32::from(columns) + u32::from(parameters), ends };
        if ends == 0 {
            self.run_prepared(events);
        }
        Ok(())
    }

    pub(super) fn skip_definition(
        &mut self,
        payload: &[u8],
        definitions: u32,
        ends: u8,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let (definitions, ends) = if end_of_data(payload).is_some() {
            (definitions, ends.checked_sub(1))
        } else {
            (definitions.wrapping_sub(1), definitions.checked_sub(1).map(|_| ends))
        };
        let ends = ends.ok_or_else(|| self.garbage("definitions of a prepared statement"))?;
        self.state = State::PrepareSkip { definitions, ends };
        if ends == 0 {
            if definitions != 0 {
                return Err(self.garbage("definitions of a prepared statement"));
            }
            self.run_prepared(events);
        }
        Ok(())
    }

    /// A statement is prepared: keeps it, and executes it.
    fn run_prepared(&mut self, events: &mut Vec<Event>) {
        if let Some(failure) = self.mismatch.take() {
            return self.end_of_answer(Err(failure), 0, events);
        }
        if let Some(statement) = &mut self.statement {
            let count = u16::try_from(self.parameters.len()).unwrap_or(u16::MAX);
            let (kept, old) = self.statements.keep(&self.text, statement.id, count);
            statement.kept = kept;
            if let Some(old) = old {
                self.command(COM_STMT_CLOSE, &old.to_le_bytes());
            }
        }
        self.execute();
    }

    fn execute(&mut self) {
        let id = self.statement.map(|s| s.id).unwrap_or_default();
        let payload = statement::execute(id, &self.parameters, self.session.offset);
        put_packet(&mut self.out, 0, &payload);
        self.sequence = 1;
        self.state = State::Header;
    }

    /// The statement has done its work: one that is not kept is closed at the server.
    pub(super) fn release_statement(&mut self) {
        self.parameters = Vec::new();
        self.text = Str::default();
        if let Some(Running { id, kept: false, .. }) = self.statement.take() {
            self.command(COM_STMT_CLOSE, &id.to_le_bytes());
        }
    }
}

fn mismatch(wanted: u16, have: usize) -> Failure {
    Failure::new(Why::BadRequest, Phase::Send, format!("the query has {wanted} placeholders, {have} values given"))
}
