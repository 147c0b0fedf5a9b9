//! A run as bytes: everything but the program, which the other process has too.

use super::host::Host;
use super::machine::{Machine, Mode};
use super::program::Program;
use super::{Run, State, Suspended};
use std::fmt;
use std::rc::Rc;

/// Version of the encoding.
const VERSION: u8 = 3;

/// Why bytes are not a run of this program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CodecError {
    /// The run cannot be encoded between the outcome's delivery and its next instruction.
    Undelivered,
    /// It belongs to another program (another generation of the script).
    OtherProgram,
    /// The bytes are damaged.
    Damaged,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CodecError::Undelivered => "an outcome was delivered and not yet worked on",
            CodecError::OtherProgram => "the run belongs to another generation of the script",
            CodecError::Damaged => "the encoded run is damaged",
        })
    }
}

impl<H: Host> State<H> {
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        if self.delivered.is_some() {
            return Err(CodecError::Undelivered);
        }
        postcard::to_allocvec(&(VERSION, self.program.fingerprint, &self.machine, &self.host))
            .map_err(|_| CodecError::Damaged)
    }

    fn decode(bytes: &[u8], program: Rc<Program<H>>) -> Result<Box<State<H>>, CodecError> {
        let ((version, fingerprint), rest): ((u8, u64), &[u8]) =
            postcard::take_from_bytes(bytes).map_err(|_| CodecError::Damaged)?;
        if version != VERSION || fingerprint != program.fingerprint {
            return Err(CodecError::OtherProgram);
        }
        let (machine, host): (Machine, H) = postcard::from_bytes(rest).map_err(|_| CodecError::Damaged)?;
        let route = |r: u32| (r as usize) < program.routes.len();
        let pending = machine.pending.as_ref().is_none_or(|p| {
            (p.site as usize) < program.sites.len()
                && match p.mode {
                    Mode::Plain | Mode::Quiet => true,
                    Mode::Async { route: r } => route(r),
                    Mode::Launched { route: r, .. } => r.is_none_or(route),
                }
        });
        let several = machine.several.as_ref().is_none_or(|s| {
            program.severals.get(s.site as usize).is_some_and(|site| site.members.len() == s.members.len())
        });
        let sane = machine.vars.len() == program.slots.len()
            && machine.frames.len() <= program.limits.max_frames
            && machine.frames.iter().all(|f| route(f.route) && (f.pc as usize) < program.code.len())
            && pending
            && several;
        if sane { Ok(Box::new(State { program, host, machine, delivered: None })) } else { Err(CodecError::Damaged) }
    }
}

impl<H: Host> Run<H> {
    /// Everything but the program, as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        self.0.encode()
    }

    /// The run that [`Run::encode`] wrote, on the same program; `fix` restores what of the host
    /// cannot travel.
    pub fn decode(bytes: &[u8], program: Rc<Program<H>>, fix: impl FnOnce(&mut H)) -> Result<Run<H>, CodecError> {
        let mut state = State::decode(bytes, program)?;
        fix(&mut state.host);
        Ok(Run(state))
    }
}

impl<H: Host> Suspended<H> {
    /// Everything but the program, as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        self.0.encode()
    }

    /// The suspended run that [`Suspended::encode`] wrote, on the same program; `fix` restores
    /// what of the host cannot travel.
    pub fn decode(bytes: &[u8], program: Rc<Program<H>>, fix: impl FnOnce(&mut H)) -> Result<Suspended<H>, CodecError> {
        let mut state = State::decode(bytes, program)?;
        if !state.machine.waits() {
            return Err(CodecError::Damaged);
        }
        fix(&mut state.host);
        Ok(Suspended(state))
    }
}
