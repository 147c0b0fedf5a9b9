//! The numbers and texts by which scripts know failures of HTTP: those of libcurl (its `libcurl-errors` page).

use crate::ops::{Failure, Phase, Why};

/// The number for a failed exchange; negative where libcurl has none.
pub fn code_of(failure: &Failure) -> i32 {
    match (failure.why, failure.phase) {
        (Why::Open, _) => Why::OPEN_CODE,
        (Why::Overload | Why::Cancelled, _) => -1,
        (Why::BadRequest, _) if failure.detail.contains("scheme") => 1,
        (Why::BadRequest, _) => 3,
        (Why::Timeout, _) => 28,
        (Why::TooLarge, _) => 63,
        (Why::System, Phase::Tls) => 77,
        (Why::System, _) => 7,
        (_, Phase::Resolve) => 6,
        (_, Phase::Queue | Phase::Connect) => 7,
        (Why::Denied, Phase::Tls) => 60,
        (_, Phase::Tls) => 35,
        (Why::Denied, _) => 47,
        (Why::Garbage, _) => 8,
        (_, Phase::Login | Phase::Send) => 55,
        (_, Phase::Wait) => 52,
        (_, Phase::Receive) => 56,
    }
}

/// The text for a number, as `$curlerror` has it.
pub fn text(code: i64) -> &'static str {
    match code {
        0 => "No error",
        1 => "Unsupported protocol",
        2 => "Failed initialization",
        3 => "URL using bad/illegal format or missing URL",
        4 => {
            "A requested feature, protocol or option was not found built-in in this libcurl due to a build-time decision."
        }
        5 => "Couldn't resolve proxy name",
        6 => "Couldn't resolve host name",
        7 => "Couldn't connect to server",
        8 => "Weird server reply",
        9 => "Access denied to remote resource",
        16 => "Error in the HTTP2 framing layer",
        18 => "Transferred a partial file",
        22 => "HTTP response code said error",
        23 => "Failed writing received data to disk/application",
        26 => "Failed to open/read local data from file/application",
        27 => "Out of memory",
        28 => "Timeout was reached",
        33 => "Requested range was not delivered by the server",
        35 => "SSL connect error",
        42 => "Operation was aborted by an application callback",
        43 => "A libcurl function was given a bad argument",
        45 => "Failed binding local connection end",
        47 => "Number of redirects hit maximum amount",
        52 => "Server returned nothing (no headers, no data)",
        53 => "SSL crypto engine not found",
        55 => "Failed sending data to the peer",
        56 => "Failure when receiving data from the peer",
        58 => "Problem with the local SSL certificate",
        59 => "Couldn't use specified SSL cipher",
        60 => "SSL peer certificate or SSH remote key was not OK",
        61 => "Unrecognized or bad HTTP Content or Transfer-Encoding",
        63 => "Maximum file size exceeded",
        64 => "Requested SSL level failed",
        65 => "Send failed since rewinding of the data stream failed",
        67 => "Login denied",
        77 => "Problem with the SSL CA cert (path? access rights?)",
        80 => "Failed to shut down the SSL connection",
        81 => "Socket not ready for send/recv",
        83 => "Issuer check against peer certificate failed",
        94 => "An authentication function returned an error",
        97 => "proxy handshake error",
        _ => "Unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (why, phase, code) in [
            (Why::Refused, Phase::Resolve, 6),
            (Why::Timeout, Phase::Resolve, 28),
            (Why::Refused, Phase::Connect, 7),
            (Why::Denied, Phase::Tls, 60),
            (Why::Closed, Phase::Wait, 52),
            (Why::Closed, Phase::Receive, 56),
            (Why::Open, Phase::Queue, -11),
            (Why::Overload, Phase::Queue, -1),
        ] {
            assert_eq!(code_of(&Failure::new(why, phase, "")), code, "{why:?} {phase:?}");
        }
        assert_eq!(code_of(&Failure::new(Why::BadRequest, Phase::Queue, "the URL names no valid host")), 3);
        assert_eq!(code_of(&Failure::new(Why::BadRequest, Phase::Queue, "the URL's scheme is neither ...")), 1);
        assert_eq!(text(7), "Couldn't connect to server");
        assert_eq!(text(-1), "Unknown error");
    }
}
