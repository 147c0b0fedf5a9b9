//! 2.2's operands without `$`: `uri`, `from_uri`, `method`, `src_ip` ... read through the
//! pseudo-variables that replaced them.

use super::Lowerer;
use crate::base::names::suggest;
use crate::script::diagnostics::Diagnostic;
use crate::script::host::Host;
use crate::script::ir::Instr;
use crate::script::pv;
use crate::script::source::Span;
use crate::script::transform::Op;
use crate::script::value::Value;

/// Operand, and the variables that stand for it, the first known one counts.
const OPERANDS: [(&str, &[&str]); 19] = [
    ("uri", &["$ru"]),
    ("from_uri", &["$fu"]),
    ("to_uri", &["$tu"]),
    ("method", &["$rm"]),
    ("status", &["$rs"]),
    ("src_ip", &["$si"]),
    ("dst_ip", &["$Ri", "$socket_in(ip)"]),
    ("src_port", &["$sp"]),
    ("dst_port", &["$Rp", "$socket_in(port)"]),
    ("proto", &["$pr", "$proto", "$socket_in(proto)"]),
    ("af", &["$si"]),
    ("msg:len", &["$msg(xlen)", "$ml"]),
    ("retcode", &["$rc"]),
    ("snd_ip", &["$sndfrom(ip)"]),
    ("to_ip", &["$sndto(ip)"]),
    ("snd_proto", &["$sndto(sproto)"]),
    ("snd_af", &["$sndto(ip)"]),
    ("snd_port", &["$sndfrom(port)"]),
    ("to_port", &["$sndto(port)"]),
];

/// Longest message: the operand `max_len`.
const MAX_LEN: i64 = 65_535;

impl<H: Host> Lowerer<'_, H> {
    /// Pushes the value of an operand without `$`.
    pub(super) fn legacy(&mut self, word: &str, span: Span) {
        if word == "max_len" {
            let n = self.konst(Value::Int(MAX_LEN));
            self.emit(Instr::Const(n));
            return;
        }
        let Some(number) = self.legacy_var(word) else {
            let mut d = Diagnostic::error("E0204", span, format!("unknown operand `{word}`"));
            if let Some(s) = suggest(word, OPERANDS.iter().map(|o| o.0)) {
                d = d.help(format!("did you mean `{s}`?"));
            }
            return self.diags.push(d);
        };
        self.emit(Instr::Load(number));
    }

    /// The variable behind an operand.
    fn legacy_var(&mut self, word: &str) -> Option<u32> {
        let (_, names) = OPERANDS.iter().find(|o| o.0 == word)?;
        let key = format!("operand {word}");
        if let Some(n) = self.var_index.get(&key) {
            return Some(*n);
        }
        let mut var = names.iter().find_map(|n| {
            let text = pv::parse(n.as_bytes()).ok()?;
            self.resolver().var::<H>(&text).ok()
        })?;
        if matches!(word, "af" | "snd_af") {
            // The family follows from the source address.
            var.transforms.push(crate::script::ir::Transform { op: Op::IpAf, args: Vec::new(), subst: None });
        }
        var.text = word.into();
        let n = self.p.vars.len() as u32;
        self.p.vars.push(var);
        self.var_index.insert(key, n);
        Some(n)
    }
}

/// Whether an operand is an address, so that a quoted network on its right is one too.
pub(super) fn is_address(word: &str) -> bool {
    matches!(word, "src_ip" | "dst_ip" | "snd_ip" | "to_ip")
}
