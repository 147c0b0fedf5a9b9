//! The syntax tree: what both front ends produce and the lowering consumes. It holds what was
//! written, with positions; names are resolved later.

use super::source::Span;
use std::fmt;

/// Whose language a file is written in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// OpenSIPS 2.2 to 4.1, both spellings.
    OpenSips,
    /// Kamailio 5.6 and later.
    Kamailio,
}

/// A word with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    /// The word.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// A string literal after escape processing. Bytes, since `\xH` may give any byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrLit {
    /// The text with escapes resolved.
    pub text: Vec<u8>,
    /// Where it stands, quotes included.
    pub span: Span,
    /// Written in `'...'`: no escapes were processed.
    pub raw: bool,
}

/// A variable as written, such as `$ru` or `$(avp(x)[0]{s.len})`. Parsed further by [`super::host`]'s users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VarTok {
    /// The text, with the leading `$`.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// A whole configuration, in file order.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Its parts.
    pub items: Vec<Item>,
    /// Kamailio: the preprocessor's defines, name and text, as they were at the end.
    pub defines: Vec<(String, Option<String>)>,
}

/// One top-level part.
#[derive(Clone, Debug)]
pub enum Item {
    /// `name = value`
    Global(Global),
    /// `loadmodule "tm.so"`; also `mpath`, as a [`Item::Global`] named `mpath`.
    LoadModule {
        /// The file name or path as written.
        file: StrLit,
        /// The whole statement.
        span: Span,
    },
    /// `modparam("module", "name", value)`
    ModParam {
        /// Module name, a regular expression in the OpenSIPS dialect.
        module: StrLit,
        /// Parameter name.
        name: StrLit,
        /// Its value.
        value: GlobalValue,
        /// The whole statement.
        span: Span,
    },
    /// `group.name = value` (Kamailio): a parameter that the script reads.
    Custom {
        /// `group.name` or `group[instance].name`.
        name: Ident,
        /// Its value.
        value: GlobalValue,
        /// The whole statement.
        span: Span,
    },
    /// A route block.
    Route(RouteBlock),
}

/// A core parameter.
#[derive(Clone, Debug)]
pub struct Global {
    /// Its name.
    pub name: Ident,
    /// Its value.
    pub value: GlobalValue,
    /// The whole statement.
    pub span: Span,
}

/// Value of a core or module parameter.
#[derive(Clone, Debug)]
pub enum GlobalValue {
    /// A number or boolean word (`yes true on enable` = 1).
    Int(i64, Span),
    /// A string (adjacent literals joined).
    Str(StrLit),
    /// A bare word, such as `LOG_LOCAL0`.
    Ident(Ident),
    /// A listening socket.
    Socket(SocketSpec),
    /// A list: aliases, and the like; each item with its raw text.
    List(Vec<Ident>),
    /// A block the core accepts but that has its own grammar (`dst_blacklist`, `auto_scaling_profile`): raw text.
    Raw(Ident),
}

/// `udp:127.0.0.1:5060 as 1.2.3.4:5060 use_workers 4 tag name`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSpec {
    /// Protocol word in lower case; `udp` if none was written.
    pub proto: String,
    /// Address, host name, interface name or `*`, without brackets.
    pub host: String,
    /// Ports; empty = the protocol's default.
    pub ports: Vec<u16>,
    /// `as HOST[:PORT]`
    pub advertised: Option<(String, Option<u16>)>,
    /// `tag NAME` or `name "NAME"`
    pub tag: Option<String>,
    /// `use_workers N`
    pub workers: Option<u32>,
    /// `tos N`
    pub tos: Option<u32>,
    /// Remaining option words (`anycast`, `reuse_port`, `frag`, `accept_subdomain` ...).
    pub options: Vec<String>,
    /// Where it stands.
    pub span: Span,
}

/// Which kind of block. Names follow OpenSIPS; Kamailio's `reply_route` is `OnReply` without a name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum RouteKind {
    /// `route {}`, `route[name] {}`, `request_route {}`
    Request,
    /// `onreply_route`, `reply_route`
    OnReply,
    /// `failure_route[name]`
    Failure,
    /// `branch_route[name]`
    Branch,
    /// `local_route`
    Local,
    /// `error_route`
    Error,
    /// `startup_route`
    Startup,
    /// `timer_route[name, seconds]`
    Timer,
    /// `event_route[NAME]`
    Event,
    /// Kamailio's `onsend_route`
    OnSend,
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RouteKind::Request => "route",
            RouteKind::OnReply => "onreply_route",
            RouteKind::Failure => "failure_route",
            RouteKind::Branch => "branch_route",
            RouteKind::Local => "local_route",
            RouteKind::Error => "error_route",
            RouteKind::Startup => "startup_route",
            RouteKind::Timer => "timer_route",
            RouteKind::Event => "event_route",
            RouteKind::OnSend => "onsend_route",
        })
    }
}

/// One route block.
#[derive(Clone, Debug)]
pub struct RouteBlock {
    /// Its kind.
    pub kind: RouteKind,
    /// Its name; `None` for the main block of its kind (`route[0]` too).
    pub name: Option<Ident>,
    /// `timer_route`: seconds between two runs.
    pub interval: Option<u32>,
    /// The statements.
    pub body: Vec<Stmt>,
    /// The head of the block (`route[name]`).
    pub span: Span,
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Stmt {
    /// What it does.
    pub kind: StmtKind,
    /// Where it stands.
    pub span: Span,
}

/// What a statement does.
#[derive(Clone, Debug)]
pub enum StmtKind {
    /// A function call (`xlog`, `log`, `assert`, `setflag` ... are calls too).
    Call(Call),
    /// `lhs op expr;`
    Assign(Assign),
    /// `if (cond) {...} else {...}`
    If {
        /// Condition.
        cond: Expr,
        /// Statements if true.
        then: Vec<Stmt>,
        /// Statements if not; `else if` nests.
        otherwise: Option<Vec<Stmt>>,
    },
    /// `while (cond) {...}`
    While {
        /// Condition.
        cond: Expr,
        /// Body.
        body: Vec<Stmt>,
    },
    /// `for ($it in $(src[*])) {...}`
    ForEach {
        /// Assigned each time.
        iterator: VarTok,
        /// Source with index `[*]`.
        source: VarTok,
        /// Body.
        body: Vec<Stmt>,
    },
    /// `switch ($x) { case ...: ... }`
    Switch {
        /// What is compared.
        subject: Expr,
        /// The cases; execution falls through without `break`.
        cases: Vec<Case>,
    },
    /// `route(NAME, args)`
    Route(RouteCall),
    /// `return`, `return N`, `return(N, v1, v2)`
    Return {
        /// The code; 1 if absent.
        code: Option<Expr>,
        /// Extra values for `$return(i)`.
        extra: Vec<Expr>,
    },
    /// `exit`
    Exit,
    /// `drop`
    Drop,
    /// `break`
    Break,
    /// `continue` (Kamailio)
    Continue,
    /// `async(f(...), route[, timeout])` and `async(route) { f(...); }`
    Async {
        /// What is started.
        call: Call,
        /// Resume route.
        route: Ident,
        /// Seconds; 0 or absent = the default.
        timeout: Option<Expr>,
    },
    /// `launch(f(...)[, route[, param]])`
    Launch {
        /// What is started.
        call: Call,
        /// Report route.
        route: Option<Ident>,
        /// Readable there as `$param(1)`.
        param: Option<Expr>,
    },
    /// `await f(...);`
    Await(Call),
    /// `async_all(route[, timeout]) { f(...); g(...); }` and its like.
    Several(Several),
    /// `{ ... }`
    Block(Vec<Stmt>),
    /// An expression as a statement (Kamailio).
    Expr(Expr),
    /// `;`
    Empty,
}

/// Several functions started at once.
#[derive(Clone, Debug)]
pub struct Several {
    /// The word of the statement.
    pub word: Ident,
    /// When it is over.
    pub until: Until,
    /// What is started, in the order written.
    pub members: Vec<Call>,
    /// Resume route; `None`: the script goes on behind the block.
    pub route: Option<Ident>,
    /// Seconds for all of it; 0 or absent = each member's own.
    pub timeout: Option<u32>,
}

/// When several that were started at once are over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// When all have ended.
    All,
    /// When one has succeeded, or all have failed.
    Any,
}

/// One `case` (or `default`) of a switch.
#[derive(Clone, Debug)]
pub struct Case {
    /// Label: `Int`, `Str` or (Kamailio) a regular expression; `None` = default.
    pub label: Option<CaseLabel>,
    /// Statements up to the next label.
    pub body: Vec<Stmt>,
    /// Where the label stands.
    pub span: Span,
}

/// Label of a `case`.
#[derive(Clone, Debug)]
pub enum CaseLabel {
    /// A number.
    Int(i64),
    /// A string.
    Str(StrLit),
    /// `/regex/` or `r"..."` (Kamailio).
    Regex(StrLit),
}

/// An assignment, also usable as a condition.
#[derive(Clone, Debug)]
pub struct Assign {
    /// Left side.
    pub target: VarTok,
    /// Operator.
    pub op: AssignOp,
    /// Right side.
    pub value: Box<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// Assignment operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum AssignOp {
    /// `=`
    Set,
    /// `:=`
    Reset,
    /// `+=`
    Add,
    /// `-=`
    Sub,
    /// `*=`
    Mul,
    /// `/=`
    Div,
    /// `%=`
    Mod,
    /// `&=`
    BitAnd,
    /// `|=`
    BitOr,
    /// `^=`
    BitXor,
}

/// A function call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Function name.
    pub name: Ident,
    /// Arguments; `None` = left out (`f(a, , c)`).
    pub args: Vec<Option<Expr>>,
    /// From the name to the closing parenthesis.
    pub span: Span,
}

/// `route(NAME, args)`
#[derive(Clone, Debug)]
pub struct RouteCall {
    /// `Str` (also for identifiers and numbers), or a variable / format string computed at run time.
    pub name: Box<Expr>,
    /// Parameters, read there as `$param(i)`.
    pub args: Vec<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A number (booleans too).
    Int(i64),
    /// A string literal.
    Str(StrLit),
    /// `null`
    Null,
    /// A variable.
    Var(VarTok),
    /// An IP address or network, such as `10.0.0.0/8`: raw text.
    Net(String),
    /// A bare word where a string is meant (2.2: `setflag(NAME)`, `$rm == INVITE`).
    Ident(String),
    /// `myself`
    Myself,
    /// 2.2's operands without `$`: `uri`, `from_uri`, `method`, `src_ip` ...: the word.
    Legacy(String),
    /// `a == b` and the like.
    Compare {
        /// Operator.
        op: CompareOp,
        /// Left side.
        left: Box<Expr>,
        /// Right side.
        right: Box<Expr>,
    },
    /// `a && b`
    And(Box<Expr>, Box<Expr>),
    /// `a || b`
    Or(Box<Expr>, Box<Expr>),
    /// `!a`
    Not(Box<Expr>),
    /// `a + b` and the like.
    Binary {
        /// Operator.
        op: BinaryOp,
        /// Left side.
        left: Box<Expr>,
        /// Right side.
        right: Box<Expr>,
    },
    /// `-a`, `~a` and Kamailio's `(int)a`, `(str)a`, `defined a`, `strlen(a)`
    Unary {
        /// Operator.
        op: UnaryOp,
        /// Operand.
        operand: Box<Expr>,
    },
    /// `selval(a, b, c)` (Kamailio): b if a holds, else c.
    Choice {
        /// Condition.
        cond: Box<Expr>,
        /// Value if it holds.
        yes: Box<Expr>,
        /// Value if not.
        no: Box<Expr>,
    },
    /// `( a )`
    Group(Box<Expr>),
    /// `[ a ]`: arithmetic as a test, true if not zero (OpenSIPS).
    Test(Box<Expr>),
    /// A call whose return code counts.
    Call(Call),
    /// A sub-route whose return code counts.
    Route(RouteCall),
    /// An assignment whose success counts.
    Assign(Assign),
    /// `await f(...)`: the call's return code (same as a plain call).
    Await(Call),
    /// `{ actions }`: the last one's return code counts.
    Block(Vec<Stmt>),
}

/// Comparison operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompareOp {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `>`
    Gt,
    /// `<=`
    Le,
    /// `>=`
    Ge,
    /// `=~`
    Match,
    /// `!~`
    NoMatch,
}

/// Arithmetic and bit operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `<<`
    Shl,
    /// `>>`
    Shr,
}

/// Unary operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `~`
    BitNot,
    /// `(int)` (Kamailio)
    ToInt,
    /// `(str)` (Kamailio)
    ToStr,
    /// `defined` (Kamailio)
    Defined,
    /// `strlen` (Kamailio)
    StrLen,
    /// `strempty` (Kamailio)
    StrEmpty,
}
