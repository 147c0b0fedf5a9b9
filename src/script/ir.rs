//! The instruction list and what its operands refer to. A program is one flat list of
//! [`Instr`] for all route blocks; everything an instruction needs beyond a few numbers stands
//! in a table of the [`super::program::Program`].

use super::ast::{AssignOp, BinaryOp, CompareOp, RouteKind, UnaryOp, Until};
use super::host::Host;
use super::registry::{FnSpec, Subst};
use super::source::Span;
use super::transform::Op;
use super::value::Value;
use crate::base::Str;
use std::net::IpAddr;
use std::rc::Rc;

/// One instruction. Jump targets are positions in the program's list.
///
/// The machine has an operand stack for values, a *flag* (true, false, error) that tests set and
/// conditional jumps read, `$rc`, and the value of the last statement (what a route without
/// `return` yields).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Instr {
    /// Push a constant.
    Const(u32),
    /// Push the value of a variable.
    Load(u32),
    /// Push an expanded format string.
    Format(u32),
    /// Push `$rc`: the result of a call used as a value.
    PushRc,
    /// Push 1 or 0: a comparison used as a value.
    PushFlag,
    /// Drop the top operand.
    Pop,
    /// Replace the two top operands by `left op right`.
    Binary {
        /// Operator.
        op: BinaryOp,
        /// The right operand is a number literal (it has no text form).
        literal: bool,
    },
    /// Replace the top operand.
    Unary(UnaryOp),
    /// Flag: compare the two top operands.
    Compare {
        /// Operator.
        op: CompareOp,
        /// The right operand is a number literal.
        literal: bool,
    },
    /// Flag: compare a variable with a constant, without the operand stack.
    Test {
        /// Variable.
        var: u32,
        /// Constant.
        konst: u32,
        /// Operator.
        op: CompareOp,
        /// The constant is a number literal.
        literal: bool,
    },
    /// Flag: match the top operand against a pattern compiled at load time.
    Match {
        /// Pattern.
        regex: u32,
        /// `!~`
        negate: bool,
    },
    /// Flag: whether the top operand is an address in a network.
    InNet {
        /// Network.
        net: u32,
        /// `!=`
        negate: bool,
    },
    /// Flag: whether the top operand names this server.
    Myself {
        /// `!=`
        negate: bool,
    },
    /// Flag: truth of the top operand.
    Truth,
    /// Flag: whether the top operand's number is not 0 (Kamailio: the sides of `&&`, `||`, `!`).
    NonZero,
    /// Flag: sign of the last call's result.
    RcTruth,
    /// Flag: sign of the last statement's result (`{ actions }` as a condition).
    LastTruth,
    /// Flag: opposite; an error stays one.
    Not,
    /// Go on at the target.
    Jump(u32),
    /// Go on at the target unless the flag is true.
    Unless(u32),
    /// End of the left side of `&&`: go on at the target if false or error.
    AndElse(u32),
    /// End of the left side of `||`: go on at the target if true or error.
    OrElse(u32),
    /// Jump by the top operand.
    Switch(u32),
    /// An `if` whose branch is missing or empty: `$rc` = flag, the statement's value is 1.
    IfEnd,
    /// `$rc` = value of the last statement.
    RcLast,
    /// `$rc` and the value of the last statement become this.
    Result(i32),
    /// Start counting a loop's turns.
    LoopEnter,
    /// Forget the innermost count.
    LoopLeave,
    /// Count a turn; past the cap, log and go on at the target.
    LoopTick(u32),
    /// Assign the source's next value to the iterator; none left: go on at `done`.
    ForNext {
        /// Variable with index `[*]`.
        source: u32,
        /// Variable that is assigned.
        iterator: u32,
        /// Where to go on behind the loop.
        done: u32,
    },
    /// Assign the top operand.
    Assign {
        /// Variable.
        var: u32,
        /// Operator.
        op: AssignOp,
    },
    /// Call a function.
    Call(u32),
    /// Call a function whose result nobody sees: a variable that is read next needs it.
    Prepare(u32),
    /// Start a function, then go on in its resume route.
    Async(u32),
    /// Start a function for a run of its own.
    Launch(u32),
    /// Start several functions at once, and wait for them.
    Several(u32),
    /// Call a route block.
    Route(u32),
    /// Leave the route block; operands: the code and `extra` further values.
    Return {
        /// How many values for `$return(i)`.
        extra: u32,
    },
    /// End of a route block without `return`: yields the last statement's value.
    End,
    /// End the script; the operand, if any, was popped before.
    Exit,
    /// End the script and discard (branch, provisional reply).
    Drop,
}

/// A variable, resolved.
#[derive(Debug)]
pub struct VarRef<P> {
    /// What it is.
    pub base: Base<P>,
    /// What stands in its parentheses.
    pub sub: Name<P>,
    /// Which of several values.
    pub index: IndexRef<P>,
    /// Applied to the value, from the left.
    pub transforms: Vec<Transform<P>>,
    /// As written, for messages.
    pub text: Box<str>,
    /// Whether it may be assigned.
    pub writable: bool,
}

/// What a variable is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Base<P> {
    /// `$var(name)`: its slot.
    Var(u32),
    /// A `$var` that no statement of the program names: always unset.
    Unset,
    /// `$avp(name)`
    Avp,
    /// `$param(i)`, `$param(name)`
    Param,
    /// `$rc`
    Rc,
    /// `$return(i)`
    Return,
    /// `$async_rc`
    AsyncRc,
    /// `$async_err`
    AsyncErr,
    /// `$async_phase`
    AsyncPhase,
    /// `$cfg_file`
    CfgFile,
    /// `$cfg_line`
    CfgLine,
    /// `$route`
    Route,
    /// `$route.name`
    RouteName,
    /// `$route.type`
    RouteType,
    /// `$xavp(path)` and its like (Kamailio)
    Xavp(super::xavp::Family),
    /// `$cnt($avp(name))` (Kamailio)
    AvpCount,
    /// `$cnt($xavp(path))` and its like (Kamailio)
    XavpCount(super::xavp::Family),
    /// `$null` (Kamailio)
    Null,
    /// A pseudo-variable of the host.
    Host(P),
}

/// What stands in a variable's parentheses.
#[derive(Debug)]
pub enum Name<P> {
    /// Nothing.
    None,
    /// Fixed text (a number for `$param(1)`).
    Fixed(Value),
    /// Computed when read.
    Computed(Format<P>),
}

/// Which of several values.
#[derive(Debug)]
pub enum IndexRef<P> {
    /// No index written.
    None,
    /// `[i]`
    At(i64),
    /// `[*]`
    All,
    /// `[append]`
    Append,
    /// `[$var(i)]`
    Computed(Box<VarRef<P>>),
}

/// One transformation of a variable.
#[derive(Debug)]
pub struct Transform<P> {
    /// Which.
    pub op: Op,
    /// Its parameters.
    pub args: Vec<TransformArg<P>>,
    /// `{re.subst}` with a literal expression.
    pub subst: Option<Rc<Subst>>,
}

/// Parameter of a transformation.
#[derive(Debug)]
pub enum TransformArg<P> {
    /// Fixed.
    Fixed(Value),
    /// A variable.
    Var(VarRef<P>),
}

/// A compiled format string.
#[derive(Debug)]
pub struct Format<P> {
    /// Its parts in order.
    pub parts: Vec<Part<P>>,
}

/// Part of a format string.
#[derive(Debug)]
pub enum Part<P> {
    /// Fixed text.
    Text(Str),
    /// A variable.
    Var(VarRef<P>),
}

/// One call of a function in the script.
pub struct CallSite<H: Host> {
    /// The function.
    pub function: &'static FnSpec<H>,
    /// Its name as written.
    pub name: Box<str>,
    /// How each argument is evaluated; at least as many as parameters.
    pub args: Vec<ArgPlan>,
    /// Where it stands.
    pub span: Span,
    /// File, as an index into the program's file names.
    pub file: u32,
    /// Line, from 1.
    pub line: u32,
    /// The route block it stands in.
    pub route: u32,
}

/// How an argument is evaluated.
#[derive(Clone, PartialEq, Debug)]
pub enum ArgPlan {
    /// Left out.
    None,
    /// A constant.
    Const(u32),
    /// A variable's text or number; NULL is an error if `required`.
    Var {
        /// Variable.
        var: u32,
        /// Whether the parameter must be given.
        required: bool,
    },
    /// A variable whose value must be a number (or a numeric text).
    Int {
        /// Variable.
        var: u32,
        /// Whether the parameter must be given.
        required: bool,
    },
    /// A format string.
    Format(u32),
    /// A format string whose text must be a number.
    FormatInt(u32),
    /// A writable variable.
    Out(u32),
    /// Several of them.
    Outs(Vec<u32>),
    /// A pattern compiled at load time.
    Regex(u32),
    /// A substitution compiled at load time.
    Subst(u32),
    /// A route block.
    Route(u32),
    /// A list with names: each with its variable.
    Map(Vec<(Box<str>, u32)>),
    /// An expression, evaluated onto the operand stack before the call.
    Operand,
}

/// One `async()` statement.
#[derive(Clone, PartialEq, Debug)]
pub struct AsyncSite {
    /// The call.
    pub call: u32,
    /// The resume route.
    pub route: u32,
    /// The deadline argument stands on the operand stack.
    pub timeout: bool,
}

/// One `launch()` statement.
#[derive(Clone, PartialEq, Debug)]
pub struct LaunchSite {
    /// The call.
    pub call: u32,
    /// The report route.
    pub route: Option<u32>,
    /// `$param(1)` there stands on the operand stack.
    pub param: bool,
}

/// One statement that starts several functions at once.
#[derive(Clone, PartialEq, Debug)]
pub struct SeveralSite {
    /// Its word, for messages.
    pub word: Box<str>,
    /// The calls, in the order written.
    pub members: Vec<u32>,
    /// The resume route; `None`: it goes on behind the block.
    pub route: Option<u32>,
    /// When it is over.
    pub until: Until,
    /// Seconds for all of it.
    pub timeout: Option<u32>,
}

/// One `route()` call.
#[derive(Clone, PartialEq, Debug)]
pub struct RouteSite {
    /// The block; `None`: its name stands on the operand stack, above the parameters.
    pub route: Option<u32>,
    /// How many parameters stand on the operand stack.
    pub args: u32,
}

/// A `switch`: labels in the order written.
#[derive(Clone, PartialEq, Debug)]
pub struct SwitchTable {
    /// Label and target of each case.
    pub cases: Vec<(Label, u32)>,
    /// Where to go on if none matches.
    pub otherwise: u32,
}

/// Label of a case.
#[derive(Clone, PartialEq, Debug)]
pub enum Label {
    /// A number.
    Int(i64),
    /// A text.
    Text(Str),
    /// A pattern compiled at load time.
    Regex(u32),
}

/// `10.0.0.0/8`, or a single address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net {
    /// Address.
    pub addr: IpAddr,
    /// How many leading bits count.
    pub bits: u8,
}

/// One route block.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its kind.
    pub kind: RouteKind,
    /// Its name; `None` for the main block of its kind.
    pub name: Option<Box<str>>,
    /// Timer routes: seconds between two runs.
    pub interval: Option<u32>,
    /// Its first instruction.
    pub entry: u32,
    /// One past its last instruction.
    pub end: u32,
    /// The head of the block.
    pub span: Span,
    /// It may call a function that waits, itself or through sub-routes.
    pub waits: bool,
}

impl Route {
    /// Name for messages: `route[x]`, `onreply_route`.
    pub fn label(&self) -> String {
        match &self.name {
            Some(n) => format!("{}[{n}]", self.kind),
            None => self.kind.to_string(),
        }
    }
}
