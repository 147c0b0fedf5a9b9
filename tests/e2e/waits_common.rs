//! What the tests about waiting scripts share: a server with one worker and a script, and ways to
//! ask it something.

use std::time::{Duration, Instant};

use crate::support::free_port;
use crate::support::reprise::Reprise;
use crate::support::sip::{Request, SipClient, SipMessage};
use crate::support::uas::Uas;

pub const SECOND: Duration = Duration::from_secs(1);

/// Milliseconds.
pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A running server and its SIP port.
pub struct Site {
    pub server: Reprise,
    pub port: u16,
}

/// The head of every script here: where to listen, and these modules.
pub fn head(port: u16, modules: &[&str]) -> String {
    let mut text = format!("overload_age=0 log_level=3\nxlog_level=3\nsocket=udp:127.0.0.1:{port}\n");
    for module in modules {
        text.push_str(&format!("loadmodule \"{module}.so\"\n"));
    }
    text
}

/// A server with one worker, these modules beside `tm` and `sl`, and this script.
pub fn site(modules: &[&str], script: &str) -> Site {
    site_with(modules, script, &[])
}

/// As [`site`], with additional environment variables.
pub fn site_with(modules: &[&str], script: &str, env: &[(&str, &str)]) -> Site {
    let port = free_port();
    let config = format!("{}{script}", head(port, &[&["tm", "sl"], modules].concat()));
    let server = Reprise::try_start_with(&config, &["-n", "1"], env)
        .unwrap_or_else(|f| panic!("the server did not start ({})\n{}\n{config}", f.code, f.stderr));
    Site { server, port }
}

impl Site {
    pub fn client(&self) -> SipClient {
        SipClient::new(self.port)
    }

    /// A URI of the server itself.
    pub fn uri(&self) -> String {
        format!("sip:bob@127.0.0.1:{}", self.port)
    }

    /// OPTIONS from a fresh client: the final answer.
    pub fn ask(&self) -> SipMessage {
        self.client().options(&self.uri())
    }

    /// OPTIONS whose user is `user`: the reason phrase of the final answer. Scripts answer with
    /// what they want to show there.
    pub fn show(&self, user: &str) -> String {
        self.client().options(&format!("sip:{user}@127.0.0.1:{}", self.port)).reason().to_owned()
    }

    /// Waits in flight now, as the control socket tells.
    pub fn waits(&self) -> usize {
        let waits = self.server.ctl("waits", serde_json::Value::Null);
        let list = waits.as_array().or_else(|| waits.get("waits").and_then(|w| w.as_array()));
        list.unwrap_or_else(|| panic!("waits: {waits}")).len()
    }

    /// Asserts that the server answers OPTIONS (a script must do so) and waits for nothing.
    pub fn assert_idle(&self) {
        crate::support::eventually("no wait is left", SECOND * 5, || self.waits() == 0);
    }
}

/// A request and its final answer with the time it took.
pub fn timed(client: &SipClient, request: &Request) -> (SipMessage, Duration) {
    let start = Instant::now();
    let answer = client.exchange(request, SECOND * 20).pop().expect("a final answer");
    (answer, start.elapsed())
}

/// An INVITE to the server for a user agent server behind it: `$du` is set by the script from the
/// header `X-To`.
pub fn invite_to(client: &SipClient, site: &Site, uas: &Uas) -> Request {
    client.invite(&site.uri()).header(&format!("X-To: sip:{}", uas.addr))
}
