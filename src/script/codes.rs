//! The stable numbers of findings, each with the explanation that `reprise explain CODE` prints.
//! A number is never reused for another meaning.
//!
//! E00xx files and characters, E01xx syntax, E02xx names, E03xx types and arity, E04xx waits and
//! routes, E05xx core and module parameters; W the same for warnings and notes.

/// A numbered finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Code {
    /// Its number, such as `E0102`.
    pub code: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// Why it is reported, and what to do.
    pub text: &'static str,
}

/// The finding with this number, in any case.
pub fn find(code: &str) -> Option<&'static Code> {
    CODES.iter().find(|c| c.code.eq_ignore_ascii_case(code))
}

const fn code(code: &'static str, title: &'static str, text: &'static str) -> Code {
    Code { code, title, text }
}

/// All findings, in the order of their numbers.
#[rustfmt::skip]
pub static CODES: &[Code] = &[
    // Files and characters.
    code("E0001", "file cannot be read",
        "The configuration, or a file it includes, does not exist, may not be read, or is a directory. An included \
         file's relative path is looked up in the working directory first, then in the folder of the including file."),
    code("E0002", "too much text",
        "A file is larger than 16 MiB, or all files together have more than 64 MiB, or there are more than 1000 includes."),
    code("E0003", "zero byte in a file",
        "A configuration is text. A zero byte means that the file is something else, or was damaged or cut off."),
    code("E0004", "string is never closed",
        "A \" or ' opens a string and no second one follows until the end of the file. If the closing quote of an earlier \
         string is missing, every string after it is read inside out, and the error is found only at the last one: look at \
         the string that goes over several lines, if one is named."),
    code("E0005", "comment is never closed",
        "A /* opens a comment and its */ is missing. Comments nest: each /* inside of a comment needs a */ of its own."),
    code("E0006", "unexpected character",
        "The character begins nothing the language knows. Typographic quotes and no-break spaces get into a file by \
         copying from web pages and office programs; replace them with plain ones."),
    code("E0007", "not a number",
        "Numbers are decimal, hexadecimal (0x1f) or, with a leading 0, octal (0666); they have 32 bits and a sign. \
         089 is none, since 8 and 9 are no octal digits. A fraction such as 0.5 must be written as a string."),
    code("E0008", "malformed variable",
        "A variable is written $name, $name(inner), or $(name(inner)[index]{transformation}). Its parentheses must be closed on \
         the same line; an index or a transformation needs the long form with parentheses around all of it."),
    code("E0009", "include without a file name",
        "include_file and import_file are followed by a file name in quotes."),
    code("E0010", "includes nested too deeply",
        "A file includes a file that includes a file, more than 50 times."),
    code("E0011", "file includes itself",
        "A file includes itself, directly or through other files. Reading it would never end."),
    code("E0012", "placeholder of a template",
        "${NAME} is not part of the language. The file is a template, and the program that fills it in has not been run."),
    code("E0013", "define cannot be used",
        "Kamailio's preprocessor: a name is defined twice (`#!trydef` leaves the first, `#!redef` replaces it), is not defined \
         where it must be, is defined by itself, or the environment has no such variable. Defines may stand for 2,000,000 \
         words in all."),
    code("E0014", "condition without an end",
        "Kamailio's preprocessor: each `#!ifdef`, `#!ifndef` and `#!ifexp` needs an `#!endif` in the same file, with one \
         `#!else` between them at most. Text that does not count is skipped as it stands: comments and strings in it mean nothing."),
    code("E0015", "malformed directive",
        "Kamailio's preprocessor: a directive lacks its name, its expression has no value, or a substitution is not of the \
         form \"/pattern/text/flags\"."),
    code("W0001", "file is not UTF-8",
        "The file holds bytes that are not UTF-8 text; they are replaced by U+FFFD. In comments that does not matter. In a \
         string that must hold such a byte, write it as \\xHH."),
    code("W0002", "imported file does not exist",
        "import_file names a file that does not exist, and nothing is put in its place. OpenSIPS 2.2 ignores this, 4.1 does not \
         start. Use include_file for a file that must exist."),
    // Syntax.
    code("E0101", "unexpected text",
        "Something else is expected at this place; the message says what."),
    code("E0102", "missing semicolon",
        "Every statement ends with `;`, also the last one of a block. Blocks in braces need none."),
    code("E0103", "block is never closed",
        "A `{` has no `}`. It is noticed at the end of the file, or where something begins that can only stand outside of a \
         route; the missing brace belongs somewhere before that place."),
    code("E0104", "closing brace without a block",
        "A `}` closes nothing: there is one too many, here or in the route before."),
    code("E0105", "missing parenthesis or bracket",
        "A `(` or `[` is not closed where it should be."),
    code("E0106", "nested too deeply",
        "Blocks and parentheses nest at most 200 levels deep, and at most 500 operators or `else if`s form a chain. Move parts \
         into routes of their own, or use `switch`."),
    code("E0107", "function without parentheses",
        "A function is called with parentheses, also without arguments: `t_relay();`"),
    code("E0108", "arithmetic in a condition",
        "A condition compares a variable with a value. Arithmetic stands in brackets, which test whether the result is not \
         zero: `if ([ $var(a) & 4 ])`. To compare a result, assign it to a variable first."),
    code("E0109", "text as a condition",
        "A string alone is no condition: it would always be true. Compare a variable with it."),
    code("E0110", "word without quotes",
        "A text must be in quotes; without them a word can only be the name of something. Some words belong to the language \
         (log, error, drop, route, ...) and cannot be names unless quoted: route[\"log\"], route(\"log\")."),
    code("E0111", "string directly behind a string",
        "Two strings in a row are joined only as the value of modparam and in xlog and xdbg. Elsewhere a comma is missing, or `+`."),
    code("E0112", "expression as an argument",
        "An argument is one string, number or variable. A call or an arithmetic expression cannot stand there: assign its result \
         to a variable and pass that."),
    code("E0113", "break outside of a loop",
        "`break` leaves while, for or switch. To leave a route use `return`, to end the script `exit`."),
    code("E0114", "default is not last",
        "A switch has at most one `default`, and it is the last part."),
    code("E0115", "malformed for",
        "`for ($var(it) in $(avp(list)[*])) { ... }` assigns each value to the variable in turn. The variable is a $var, $avp or \
         $json; the source has the index [*]."),
    code("E0116", "switch needs a variable",
        "Only a variable can be switched on. Assign a result to a variable first; `switch ($rc)` works right behind a call."),
    code("E0117", "malformed case",
        "A switch holds `case VALUE:` with a number or a string in quotes, and at last `default:`. A case stands in a switch only."),
    code("E0118", "malformed head of a route",
        "branch_route, failure_route, timer_route and event_route need a name in brackets, timer_route also an interval in seconds: \
         timer_route[name, 60]. local_route, error_route and startup_route have none. A name of anything but letters, digits and _ \
         stands in quotes."),
    code("E0119", "block of async is not one call",
        "`async(ROUTE) { f(...); }` starts one function; when it has finished, ROUTE runs. What should happen afterwards, or after \
         one of several steps, belongs into the resume route, which may use `async` again. To wait in the middle of a script \
         write `await f(...);`."),
    code("E0120", "malformed async or launch",
        "`async(f(...), ROUTE[, SECONDS]);`, `async(ROUTE) { f(...); }` or `launch(f(...)[, ROUTE[, PARAM]]);`. ROUTE is a literal \
         name, so that it can be checked when the script is loaded, and SECONDS a literal number."),
    code("E0121", "core parameter in a route",
        "Core parameters are set outside of routes, once for the whole server."),
    code("E0122", "call outside of a route",
        "Functions run in routes. If this line should be inside of one, the route was closed too early."),
    code("E0123", "not an assignment",
        "Only a variable can be assigned, with `=`, `:=`, `+=` and the like. `==` compares, and a comparison is a condition, \
         not a statement."),
    code("E0125", "else without if",
        "`else` follows the one statement or the block of an `if`. With two statements behind the `if` braces are missing; a `;` \
         behind the closing brace ends the `if` too."),
    code("E0126", "other dialect",
        "The text belongs to Kamailio's language, not to that of OpenSIPS, or to one that is embedded in Kamailio. The dialect is \
         recognised from the file; `--dialect` or a first line `#!OPENSIPS` or `#!KAMAILIO` overrides that."),
    code("E0130", "malformed async_all, async_any, await_all or await_any",
        "`async_all(ROUTE[, SECONDS]) { f(...); g(...); }` starts all functions of the block at once and goes on in ROUTE when all have \
         ended; `await_all { f(...); g(...); }` or `await_all(SECONDS) { ... }` goes on behind the block. `async_any` and `await_any` go on \
         with the first success. The block holds 1 to 32 calls and nothing else."),
    code("E0199", "too many errors",
        "After 100 errors nothing more is reported. Repair these first."),
    code("W0101", "assignment as a condition",
        "`if ($var(x) = 5)` assigns 5 and is always true. For a comparison write `==`."),
    code("W0102", "and behind or without parentheses",
        "`&&` and `||` have the same precedence here: `a || b && c` is `(a || b) && c`. Most languages read it as `a || (b && c)`. \
         Say with parentheses what is meant."),
    code("W0103", "statement is never reached",
        "The statement before it ends the block: exit, drop, return, async or async_all. With `async(f(...), ROUTE)` the script goes on in \
         ROUTE, never behind the async."),
    code("W0104", "label comes twice",
        "Two cases of a switch have the same label; only the first is ever used. Strings are compared without regard to case."),
    // Names.
    code("E0201", "unknown function",
        "No module and not the core has a function of this name. `reprise functions` lists those there are."),
    code("E0202", "module of a function is not loaded",
        "The function belongs to a module that the configuration does not load. Add the loadmodule line that the message names."),
    code("E0203", "unknown module",
        "There is no module of this name. A module that was renamed or merged into the core is named in the message."),
    code("E0204", "unknown variable",
        "No pseudo-variable has this name. In a format string a `.` directly behind a variable belongs to its name: write $(name). \
         A plain $ is written $$."),
    code("E0205", "unknown route",
        "A route is called, armed or named as resume route, and no such route exists. Names count with their kind: t_on_failure(\"x\") \
         needs failure_route[x], async(f(), x) needs route[x]."),
    code("E0206", "route exists twice",
        "Two routes of the same kind have the same name, or there are two main blocks of a kind. route[0] is the main route."),
    code("E0207", "unknown transformation",
        "A transformation in braces is not known: $(name{class.function,arguments})."),
    code("E0208", "unknown module parameter",
        "The module has no parameter of this name, or no loaded module matches the first argument of modparam, which is a regular \
         expression."),
    // Types and arity.
    code("E0301", "wrong number of arguments",
        "The function takes fewer or more arguments. `reprise functions NAME` shows them. Arguments that may be left out can be \
         left empty: f(a, , c)."),
    code("E0302", "wrong type of argument",
        "An argument or operand is of another type than what is expected, for instance a text where a number is needed."),
    code("E0303", "malformed regular expression",
        "The pattern is no POSIX extended regular expression. Back references and look-around are not supported."),
    code("E0304", "variable cannot be assigned",
        "The variable can only be read, or it carries a transformation, which can only be read too."),
    code("E0305", "malformed variable",
        "A variable is written $name, $name(inner) or $(name(inner)[index]{transformation}), without white space inside."),
    code("E0306", "wrong arguments of a transformation",
        "The transformation takes other arguments, in number or type."),
    code("E0307", "variable is not on the left",
        "The left side of a comparison must be a variable: write `$rm == \"INVITE\"`, not `\"INVITE\" == $rm`. The result of a call or \
         of arithmetic is assigned to a variable first."),
    // Waits and routes.
    code("E0401", "function is not allowed here",
        "The function cannot be used in this kind of route: for instance a reply to a request makes no sense where a reply is \
         handled. `reprise functions NAME` shows where it is allowed."),
    code("E0402", "wait where none may be",
        "The script cannot be suspended here: onsend_route and some event routes run while a message is being sent or \
         received, and startup_route runs before there is anything to go on with. Call the function without `async`, or use `launch`."),
    code("E0403", "async needs tm",
        "A suspended script is kept in a transaction. Load the module that makes them: loadmodule \"tm.so\"."),
    code("E0404", "function cannot be started beside others",
        "`async_all`, `await_all`, `async_any` and `await_any` start functions that can wait for somebody outside, beside one \
         another. This one never waits, or it works on the message meanwhile: call it directly, before or behind."),
    code("E0405", "no task group",
        "What is handed over to a task group is run by processes of its own. `async_workers=N` makes the group `default` with N \
         processes, `async_workers_group=\"name=X;workers=N\"` another one."),
    code("W0401", "route is used from both kinds",
        "A sub-route that waits is called from a kind of route where it may wait, and from one where it may not. In the latter the \
         function returns -1 at run time."),
    code("W0402", "route is never run",
        "Many of Kamailio's event routes belong to events that this server does not raise. The route is \
         checked like any other; what it would do does not happen."),
    code("W0403", "task goes nowhere",
        "Key/value tasks need a task group (async_tkv_gname, else a group named tkv) and an event route (async_tkv_evcb, else \
         core:tkv). Without them the function does nothing and returns -1."),
    code("W0404", "parameter about a task group comes too late",
        "async_nonblock and async_usleep are about the group that async_workers makes, and stand behind it. A group that was made \
         before, also by async_workers_group, keeps its number of workers."),
    // Core parameters.
    code("E0501", "unknown core parameter",
        "There is no core parameter of this name. Parameters of modules are set with modparam."),
    code("E0502", "wrong type of a core parameter",
        "The parameter takes a number, yes or no, a string in quotes, a word or a socket; something else was given."),
    code("E0503", "value of a core parameter out of range",
        "The value is outside of what the parameter allows; the message names the bounds or the words."),
    code("E0504", "malformed socket",
        "A socket is written PROTOCOL:HOST[:PORT] with options behind it: `udp:10.0.0.1:5060 as 1.2.3.4:5060`. HOST is an address, a \
         host name, the name of an interface, or `*`; an IPv6 address stands in brackets."),
    code("W0501", "parameter has no effect",
        "The parameter is understood and ignored, since what it tunes does not exist in this server, or is set elsewhere."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    #[test]
    fn numbers_are_unique_and_found() {
        let numbers: BTreeSet<_> = CODES.iter().map(|c| c.code).collect();
        assert_eq!(numbers.len(), CODES.len());
        assert_eq!(find("e0102").map(|c| c.title), Some("missing semicolon"));
        assert_eq!(find("E9999"), None);
    }

    /// Every number that stands as a string in the sources of the script layer is explained.
    #[test]
    fn every_number_in_use_is_explained() {
        fn visit(dir: &Path, missing: &mut BTreeSet<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    visit(&path, missing);
                } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("codes.rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    for part in text.split('"').filter(|p| p.len() == 5 && p.starts_with(['E', 'W'])) {
                        if part[1..].bytes().all(|b| b.is_ascii_digit()) && find(part).is_none() {
                            missing.insert(part.to_owned());
                        }
                    }
                }
            }
        }
        let mut missing = BTreeSet::new();
        visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/script"), &mut missing);
        assert!(missing.is_empty(), "no explanation: {missing:?}");
    }
}
