//! Walks over the headers of a message: `hf_iterator_*` of `textopsx`.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_kamailio::Kpv;
use crate::modules::sipmsgops::headers::checked;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use serde::{Deserialize, Serialize};

/// Walks that a run may have begun.
const MOST: usize = 16;

/// The walks of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walks(Vec<Walk>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Walk {
    name: Str,
    /// Number of the header it stands at; `None`: in front of the first.
    at: Option<usize>,
}

/// `hf_iterator_start`
pub const HF_ITERATOR_START: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("hf_iterator_start"),
    params: &[Param::req("iterator", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Begins a walk over the message's headers; it stands in front of the first one.",
    returns: &[(1, "begun"), (-1, "16 are under way already")],
    example: r#"hf_iterator_start("i");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let walks = &mut call.host.walks.get_or_insert_default().0;
        walks.retain(|w| w.name != name);
        if walks.len() >= MOST {
            return Step::Done(-1);
        }
        walks.push(Walk { name, at: None });
        Step::Done(1)
    },
    finish: None,
};

/// `hf_iterator_next`
pub const HF_ITERATOR_NEXT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("hf_iterator_next"),
    doc: "Goes on to the next header: `$hfitname(i)` is its name, `$hfitbody(i)` its value.",
    returns: &[(1, "there is one"), (-1, "there is none, or no such walk was begun")],
    example: r#"while (hf_iterator_next("i")) xlog("$hfitname(i): $hfitbody(i)\n");"#,
    run: |call| go(call, |at| Some(at.map_or(0, |n| n + 1))),
    ..HF_ITERATOR_START
};

/// `hf_iterator_prev`
pub const HF_ITERATOR_PREV: FnSpec<SipHost> = FnSpec {
    kamailio: Some("hf_iterator_prev"),
    doc: "Goes back to the header before.",
    example: r#"hf_iterator_prev("i");"#,
    run: |call| go(call, |at| at.and_then(|n| n.checked_sub(1))),
    ..HF_ITERATOR_NEXT
};

fn go(call: &mut Call<'_, SipHost>, to: fn(Option<usize>) -> Option<usize>) -> Step<SipHost> {
    let name = call.text(0).unwrap_or_default();
    let count = call.host.msg.headers().count();
    let Some(walk) = call.host.walks.as_mut().and_then(|w| w.0.iter_mut().find(|w| w.name == name)) else {
        return Step::Done(-1);
    };
    match to(walk.at).filter(|n| *n < count) {
        Some(n) => {
            walk.at = Some(n);
            Step::Done(1)
        }
        None => Step::Done(-1),
    }
}

/// `hf_iterator_end`
pub const HF_ITERATOR_END: FnSpec<SipHost> = FnSpec {
    kamailio: Some("hf_iterator_end"),
    doc: "Ends a walk. Those of a run end with it.",
    returns: &[(1, "ended"), (-1, "no such walk was begun")],
    example: r#"hf_iterator_end("i");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let Some(walks) = &mut call.host.walks else { return Step::Done(-1) };
        let before = walks.0.len();
        walks.0.retain(|w| w.name != name);
        Step::Done(if walks.0.len() < before { 1 } else { -1 })
    },
    ..HF_ITERATOR_START
};

/// `hf_iterator_rm`
pub const HF_ITERATOR_RM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("hf_iterator_rm"),
    doc: "Removes the header that a walk stands at.",
    returns: &[(1, "removed"), (-1, "it stands at none")],
    example: r#"if ($hfitname(i) == "X-Secret") hf_iterator_rm("i");"#,
    run: |call| {
        at(
            call,
            |h, n, _| {
                if let Some(header) = h.msg.headers().nth(n) {
                    h.edits.remove_header(&header);
                }
            },
            None,
        )
    },
    ..HF_ITERATOR_START
};

const WITH_TEXT: &[Param] = &[Param::req("iterator", Kind::Str), Param::req("header", Kind::Str)];

/// `hf_iterator_append`
pub const HF_ITERATOR_APPEND: FnSpec<SipHost> = FnSpec {
    kamailio: Some("hf_iterator_append"),
    params: WITH_TEXT,
    doc: "Adds a header line, ending in CRLF, behind the one that a walk stands at.",
    returns: &[(1, "added"), (-1, "it stands at none, or this is no header line")],
    example: r#"hf_iterator_append("i", "X-Behind: yes\r\n");"#,
    run: |call| {
        let text = call.text(1).and_then(checked);
        at(
            call,
            |h, n, text| {
                if let Some(line) = h.msg.headers().nth(n).map(|x| x.line()) {
                    h.edits.insert_after(line.end, text);
                }
            },
            Some(text),
        )
    },
    ..HF_ITERATOR_START
};

/// `hf_iterator_insert`
pub const HF_ITERATOR_INSERT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("hf_iterator_insert"),
    doc: "Adds a header line, ending in CRLF, in front of the one that a walk stands at.",
    example: r#"hf_iterator_insert("i", "X-Before: yes\r\n");"#,
    run: |call| {
        let text = call.text(1).and_then(checked);
        at(
            call,
            |h, n, text| {
                if let Some(line) = h.msg.headers().nth(n).map(|x| x.line()) {
                    h.edits.insert_before(line.start, text);
                }
            },
            Some(text),
        )
    },
    ..HF_ITERATOR_APPEND
};

/// Does something at the header that a walk stands at; `text`: what is added there, if it is fit to be.
fn at(call: &mut Call<'_, SipHost>, act: fn(&mut SipHost, usize, Str), text: Option<Option<Str>>) -> Step<SipHost> {
    let name = call.text(0).unwrap_or_default();
    let text = match text {
        Some(None) => return Step::Done(-1),
        Some(Some(text)) => text,
        None => Str::default(),
    };
    match place(call.host, &name) {
        Some(n) => {
            act(call.host, n, text);
            Step::Done(1)
        }
        None => Step::Done(-1),
    }
}

fn place(h: &SipHost, name: &[u8]) -> Option<usize> {
    h.walks.as_ref()?.0.iter().find(|w| *w.name == *name)?.at
}

/// Reads `$hfitname` or `$hfitbody`.
pub fn get(h: &SipHost, pv: Kpv, sub: Option<&Value>) -> Value {
    let name = sub.and_then(Value::to_text).unwrap_or_default();
    let Some(header) = place(h, &name).and_then(|n| h.msg.headers().nth(n)) else { return Value::Null };
    Value::text(if pv == Kpv::WalkName { header.name } else { header.value })
}
