//! Headers that hold comma-separated option lists (Supported, Require, Allow ...).

use super::MOST;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, Step};

const PARAMS: &[Param] = &[Param::req("header", Kind::Str), Param::req("option", Kind::Str)];

/// `list_hdr_has_option`
pub const LIST_HDR_HAS_OPTION: FnSpec<SipHost> = FnSpec {
    opensips: Some("list_hdr_has_option"),
    kamailio: None,
    params: PARAMS,
    variadic: false,
    routes: MOST,
    waits: false,
    doc: "Whether a list header holds the option.",
    returns: &[(1, "it does"), (-1, "it does not")],
    example: r#"if (list_hdr_has_option("Supported", "100rel")) xlog("PRACK\n");"#,
    run: |call| {
        let (name, option) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let found = call
            .host
            .msg
            .headers_named(&name)
            .any(|h| h.value.split(|b| *b == b',').any(|v| v.trim_ascii().eq_ignore_ascii_case(&option)));
        Step::Done(if found { 1 } else { -1 })
    },
    finish: None,
};

/// `list_hdr_add_option`
pub const LIST_HDR_ADD_OPTION: FnSpec<SipHost> = FnSpec {
    opensips: Some("list_hdr_add_option"),
    doc: "Adds the option to the list header, which is made if need be.",
    returns: &[(1, "added, or it was there")],
    example: r#"list_hdr_add_option("Supported", "path");"#,
    run: |call| {
        let (name, option) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let h = &mut *call.host;
        let mut last = None;
        for header in h.msg.headers_named(&name) {
            if header.value.split(|b| *b == b',').any(|v| v.trim_ascii().eq_ignore_ascii_case(&option)) {
                return Step::Done(1);
            }
            last = Some(header.value_range);
        }
        match last {
            Some(range) => {
                let mut text = b", ".to_vec();
                text.extend_from_slice(&option);
                h.edits.insert_after(range.end, Str::from(text));
            }
            None => {
                let text = [&name[..], b": ", &option[..], b"\r\n"].concat();
                let Some(line) = super::headers::checked(Str::from(text)) else { return Step::Done(-1) };
                h.edits.append_header(&h.msg, line);
            }
        }
        Step::Done(1)
    },
    ..LIST_HDR_HAS_OPTION
};

/// `list_hdr_remove_option`
pub const LIST_HDR_REMOVE_OPTION: FnSpec<SipHost> = FnSpec {
    opensips: Some("list_hdr_remove_option"),
    doc: "Removes the option from the list headers; a header that is left empty goes too.",
    returns: &[(1, "removed"), (-1, "it was not there")],
    example: r#"list_hdr_remove_option("Supported", "100rel");"#,
    run: |call| {
        let (name, option) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let h = &mut *call.host;
        let mut any = false;
        for header in h.msg.headers_named(&name) {
            let parts: Vec<&[u8]> = header.value.split(|b| *b == b',').map(<[u8]>::trim_ascii).collect();
            let kept: Vec<&[u8]> = parts.iter().copied().filter(|v| !v.eq_ignore_ascii_case(&option)).collect();
            if kept.len() == parts.len() {
                continue;
            }
            any = true;
            if kept.is_empty() {
                h.edits.remove_header(&header);
            } else {
                h.edits.replace(header.value_range, Str::from(kept.join(&b", "[..])));
            }
        }
        Step::Done(if any { 1 } else { -1 })
    },
    ..LIST_HDR_HAS_OPTION
};
