//! AVP names as avpops' functions take them: texts such as `$avp(x)/g`, not expanded.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::host::Index;
use crate::script::pv::{self, IndexText, Piece, PvText};
use crate::script::registry::{Call, OutVar};
use crate::script::value::Value;

/// One AVP, and one of its values if an index was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Avp {
    /// Its name.
    pub name: Str,
    /// `[i]`
    pub index: Option<i64>,
}

/// What a name means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// This one.
    One(Avp),
    /// Every AVP of the run.
    All,
}

/// The parts between slashes; a slash in parentheses belongs to its part.
pub fn parts(text: &[u8]) -> Vec<&[u8]> {
    let mut depth = 0usize;
    text.split(|b| {
        match b {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        *b == b'/' && depth == 0
    })
    .map(<[u8]>::trim_ascii)
    .collect()
}

/// An output variable, if it is an AVP by its form.
pub fn avp_of(out: &OutVar) -> Result<Avp, String> {
    let name = out.sub.to_text().filter(|n| !n.is_empty()).ok_or("an AVP is wanted")?;
    let index = if let Index::At(n) = out.index { Some(n) } else { None };
    Ok(Avp { name, index })
}

/// The AVPs that a text names: `$avp(x)`, `$(avp(x)[1])`, a bare name, or `a`, `s`, `i` for all.
pub fn which(call: &mut Call<'_, SipHost>, text: &[u8]) -> Result<Which, String> {
    match text {
        b"a" | b"A" | b"s" | b"S" | b"i" | b"I" => Ok(Which::All),
        b"" => Err("the AVP's name is missing".to_string()),
        _ if text.first() != Some(&b'$') => Ok(Which::One(Avp { name: Str::from(text), index: None })),
        _ => {
            let var = pv::parse(text).map_err(|e| e.message)?;
            match avp(call, &var) {
                Some(avp) => Ok(Which::One(avp)),
                None => Err(format!("`{}` is no AVP", var.text)),
            }
        }
    }
}

/// The one AVP that a text names.
pub fn one(call: &mut Call<'_, SipHost>, text: &[u8]) -> Result<Avp, String> {
    match which(call, text)? {
        Which::One(avp) => Ok(avp),
        Which::All => Err(format!("`{}` is no single AVP", String::from_utf8_lossy(text))),
    }
}

/// The AVP that a variable is, if it is one.
fn avp(call: &mut Call<'_, SipHost>, var: &PvText) -> Option<Avp> {
    if var.name != "avp" || !var.transforms.is_empty() {
        return None;
    }
    let mut written = Vec::new();
    for piece in var.sub.iter().flatten() {
        match piece {
            Piece::Text(t) => written.extend_from_slice(t),
            Piece::Var(v) => written.extend_from_slice(v.text.as_bytes()),
        }
    }
    let name = if written.contains(&b'$') { call.expand(&written) } else { Str::from(written) };
    let index = match &var.index {
        IndexText::At(n) => Some(*n),
        IndexText::Var(v) => {
            let text = call.expand(v.text.as_bytes());
            Some(Value::Str(text).to_int()?)
        }
        _ => None,
    };
    Some(Avp { name, index })
}

/// What a text stands for: the values of an AVP (index 0 first), or the value of any other variable
/// or text, if it is not NULL.
pub fn operand(call: &mut Call<'_, SipHost>, text: &[u8]) -> Result<Vec<Value>, String> {
    if text.first() == Some(&b'$')
        && let Ok(var) = pv::parse(text)
    {
        if let Some(avp) = avp(call, &var) {
            return Ok(values(call, &avp));
        }
        let value = call.expand(text);
        return Ok(if value == "<null>" { Vec::new() } else { vec![Value::Str(value)] });
    }
    // 2.2: `i:5` is a number, `s:abc` a text.
    Ok(vec![match text {
        [b'i', b':', number @ ..] => {
            Value::Int(Value::text(number).to_int().ok_or_else(|| "a number is wanted behind `i:`".to_string())?)
        }
        [b's', b':', rest @ ..] => Value::Str(call.expand(rest)),
        _ => Value::Str(call.expand(text)),
    }])
}

/// The values of an AVP, index 0 first; only the indexed one if an index was written.
pub fn values(call: &mut Call<'_, SipHost>, avp: &Avp) -> Vec<Value> {
    let all = call.vm().avp(&avp.name);
    match avp.index {
        None => all,
        Some(i) => position(all.len(), i).and_then(|n| all.get(n).cloned()).into_iter().collect(),
    }
}

/// Position of an index, negative ones counted from the end.
pub fn position(len: usize, index: i64) -> Option<usize> {
    let at = if index < 0 { i64::try_from(len).ok()?.checked_add(index)? } else { index };
    usize::try_from(at).ok().filter(|n| *n < len)
}

/// Pushes values so that their order stays: the first one becomes index 0.
pub fn push_all(call: &mut Call<'_, SipHost>, name: &[u8], values: Vec<Value>) {
    for value in values.into_iter().rev() {
        call.vm().push_avp(name, value);
    }
}

/// Gives an AVP these values, index 0 first, instead of its own.
pub fn set_all(call: &mut Call<'_, SipHost>, name: &[u8], values: Vec<Value>) {
    call.vm().clear_avp(name);
    push_all(call, name, values);
}

/// Whether a part consists of flags, and each of them is in `known`.
pub fn flags(part: Option<&[u8]>, known: &[u8]) -> Result<Vec<u8>, String> {
    let flags = part.unwrap_or_default().to_ascii_lowercase();
    match flags.iter().find(|f| !known.contains(f)) {
        Some(bad) => Err(format!("unknown flag `{}`", bad.escape_ascii())),
        None => Ok(flags),
    }
}
