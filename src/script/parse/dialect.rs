//! Whose language a file is written in, told from its text.

use crate::script::ast::Dialect;
use crate::script::diagnostics::Diagnostics;
use crate::script::lex::{DIRECTIVES, Kind, Token, decode, lex};

/// How much of a file is looked at, in bytes.
const LOOKED_AT: usize = 1 << 20;

/// First-line words that name the dialect (both servers know their own).
const HEADERS: [(&str, Dialect); 6] = [
    ("KAMAILIO", Dialect::Kamailio),
    ("OPENSER", Dialect::Kamailio),
    ("SER", Dialect::Kamailio),
    ("MAXCOMPAT", Dialect::Kamailio),
    ("ALL", Dialect::Kamailio),
    ("OPENSIPS", Dialect::OpenSips),
];

/// Words that open a statement or block in one of the dialects only.
const WORDS: [(&str, Dialect); 16] = [
    ("request_route", Dialect::Kamailio),
    ("reply_route", Dialect::Kamailio),
    ("onsend_route", Dialect::Kamailio),
    ("loadmodulex", Dialect::Kamailio),
    ("modparamx", Dialect::Kamailio),
    ("loadpath", Dialect::Kamailio),
    ("cfgengine", Dialect::Kamailio),
    ("startup_route", Dialect::OpenSips),
    ("timer_route", Dialect::OpenSips),
    ("error_route", Dialect::OpenSips),
    ("local_route", Dialect::OpenSips),
    ("launch", Dialect::OpenSips),
    ("udp_workers", Dialect::OpenSips),
    ("xlog_level", Dialect::OpenSips),
    ("stderror_enabled", Dialect::OpenSips),
    ("log_level", Dialect::OpenSips),
];

/// Modules that only one of the servers has.
const MODULES: [(&str, Dialect); 16] = [
    ("pv", Dialect::Kamailio),
    ("kex", Dialect::Kamailio),
    ("corex", Dialect::Kamailio),
    ("tmx", Dialect::Kamailio),
    ("xlog", Dialect::Kamailio),
    ("siputils", Dialect::Kamailio),
    ("htable", Dialect::Kamailio),
    ("rtimer", Dialect::Kamailio),
    ("jsonrpcs", Dialect::Kamailio),
    ("mqueue", Dialect::Kamailio),
    ("async", Dialect::Kamailio),
    ("signaling", Dialect::OpenSips),
    ("sipmsgops", Dialect::OpenSips),
    ("proto_udp", Dialect::OpenSips),
    ("mi_fifo", Dialect::OpenSips),
    ("rest_client", Dialect::OpenSips),
];

/// The dialect of a configuration: its header (`#!KAMAILIO`, `#!OPENSIPS`) decides; else a
/// preprocessor directive of Kamailio; else the words and modules only one of them has; else OpenSIPS.
pub fn recognise_dialect(text: &str) -> Dialect {
    if let Some(dialect) = directives(text) {
        return dialect;
    }
    let end = (0..=text.len().min(LOOKED_AT)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let text = &text[..end];
    let mut tokens = Vec::new();
    lex(0, text, &mut Diagnostics::default(), &mut tokens);
    let (mut kamailio, mut opensips) = (0u32, 0u32);
    for (i, token) in tokens.iter().enumerate() {
        match token_dialect(text, *token, tokens.get(i + 1)) {
            Some(Dialect::Kamailio) => kamailio += 1,
            Some(Dialect::OpenSips) => opensips += 1,
            None => {}
        }
    }
    if kamailio > opensips { Dialect::Kamailio } else { Dialect::OpenSips }
}

fn directives(text: &str) -> Option<Dialect> {
    let mut first = true;
    for line in text.lines() {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() {
            continue;
        }
        let directive =
            line.strip_prefix("#!").or_else(|| line.strip_prefix("!!")).or_else(|| line.strip_prefix("//!"));
        let word = directive.and_then(|d| d.split_whitespace().next()).unwrap_or("");
        if first && let Some((_, dialect)) = HEADERS.iter().find(|(name, _)| *name == word) {
            return Some(*dialect);
        }
        first = false;
        if DIRECTIVES.contains(&word) {
            return Some(Dialect::Kamailio);
        }
    }
    None
}

fn token_dialect(text: &str, token: Token, next: Option<&Token>) -> Option<Dialect> {
    let of = |t: Token| text.get(t.span.start as usize..t.span.end as usize).unwrap_or("");
    if token.kind != Kind::Ident {
        return None;
    }
    let word = of(token);
    if word == "loadmodule" {
        let next = next.filter(|t| t.is_str())?;
        let file = String::from_utf8_lossy(&decode(of(*next))).into_owned();
        let name = file.rsplit('/').next().unwrap_or("").trim_end_matches(".so");
        return MODULES.iter().find(|(m, _)| *m == name).map(|(_, d)| *d);
    }
    let opens = next.is_some_and(|t| {
        matches!(t.kind, Kind::LBrace | Kind::LBracket | Kind::LParen | Kind::Assign(_)) || t.is_str()
    });
    WORDS.iter().find(|(w, _)| opens && *w == word).map(|(_, d)| *d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_directives_decide() {
        assert_eq!(recognise_dialect("#!KAMAILIO\nstartup_route { }"), Dialect::Kamailio);
        assert_eq!(recognise_dialect("\n#!OPENSIPS\n#!define X\nrequest_route{}"), Dialect::OpenSips);
        assert_eq!(recognise_dialect("# x\n#!define WITH_AUTH\n"), Dialect::Kamailio);
        assert_eq!(recognise_dialect("# x\n!!ifdef WITH_AUTH\n"), Dialect::Kamailio);
        assert_eq!(recognise_dialect("#!/usr/sbin/opensips -f\n# define x\n"), Dialect::OpenSips);
    }

    #[test]
    fn words_and_modules_decide() {
        assert_eq!(recognise_dialect("request_route {\n}"), Dialect::Kamailio);
        assert_eq!(recognise_dialect("# request_route {\nroute {\n}"), Dialect::OpenSips);
        assert_eq!(recognise_dialect("loadmodule \"/usr/lib/pv.so\"\nroute { }"), Dialect::Kamailio);
        assert_eq!(recognise_dialect("loadmodule \"sipmsgops.so\"\nroute { }"), Dialect::OpenSips);
        assert_eq!(recognise_dialect(""), Dialect::OpenSips);
        assert_eq!(recognise_dialect("\0\u{fffd}\"'"), Dialect::OpenSips);
    }
}
