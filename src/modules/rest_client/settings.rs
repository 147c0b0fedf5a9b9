//! What the parameters of `rest_client` and `tls_mgm` say.

use crate::base::Str;
use crate::net::tls::Identity;
use crate::ops::HttpOptions;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Parameters of `rest_client`, and the client domains of `tls_mgm`.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// `curl_timeout`
    pub timeout: Duration,
    /// How exchanges are carried out.
    pub options: Rc<HttpOptions>,
    /// The same for those that `rest_init_client_tls` has named a client domain for.
    pub domains: Rc<BTreeMap<Str, Rc<HttpOptions>>>,
    /// The certificates of those domains.
    pub identities: Vec<(String, Identity)>,
    /// Files with CA certificates that other modules name.
    pub trust: Vec<Str>,
    /// `curl_conn_lifetime`; zero = no limit.
    pub lifetime: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings {
            timeout: Duration::from_secs(20),
            options: Rc::default(),
            domains: Rc::default(),
            identities: Vec::new(),
            trust: Vec::new(),
            lifetime: Duration::ZERO,
        }
    }
}

impl HttpSettings {
    /// Files with CA certificates that requests may name.
    pub fn ca_files(&self) -> impl Iterator<Item = &Str> {
        self.domains.values().chain([&self.options]).filter_map(|o| o.ca_file.as_ref()).chain(&self.trust)
    }
}
