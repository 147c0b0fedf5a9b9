//! What the parameters of `http_client` and `http_async_client` say.

use super::login::{BASIC, DIGEST};
use crate::base::Str;
use crate::ops::HttpOptions;
use std::rc::Rc;
use std::time::Duration;

/// How exchanges of a connection, or without one, are carried out.
#[derive(Clone, Debug)]
pub struct Manner {
    /// `timeout`, `connection_timeout`: of the whole exchange; `None`: as long as `async_timeout` says.
    pub timeout: Option<Duration>,
    /// `useragent`; `None`: the server's own.
    pub agent: Option<Str>,
    /// `username`, or that of the URL.
    pub user: Str,
    /// `password`, or that of the URL.
    pub password: Str,
    /// `authmethod`
    pub methods: u8,
    /// `maxdatasize`: bytes of a body that are kept; 0: all.
    pub kept: usize,
    /// Everything else.
    pub options: Rc<HttpOptions>,
}

impl Default for Manner {
    fn default() -> Self {
        Manner {
            timeout: Some(Duration::from_secs(4)),
            agent: None,
            user: Str::default(),
            password: Str::default(),
            methods: BASIC | DIGEST,
            kept: 0,
            options: Rc::default(),
        }
    }
}

/// A connection that the parameter `httpcon` or the file `config_file` defines.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its name.
    pub name: Str,
    /// `scheme://host/path`, without a login.
    pub base: Str,
    /// `failover`: the connection that is asked when this one fails.
    pub failover: Option<Str>,
    /// How its exchanges are carried out.
    pub manner: Manner,
}

/// Parameters of `http_client`.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// For `http_client_query` and its like.
    pub manner: Manner,
    /// `query_result` 1: only the first line of a body.
    pub first_line: bool,
    /// `query_maxdatasize`
    pub query_kept: usize,
    /// The connections.
    pub connections: Vec<Connection>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        ClientSettings { manner: Manner::default(), first_line: true, query_kept: 0, connections: Vec::new() }
    }
}

impl ClientSettings {
    /// A connection by its name.
    pub fn connection(&self, name: &[u8]) -> Option<&Connection> {
        self.connections.iter().find(|c| *c.name == *name)
    }
}

/// Parameters of `http_async_client`.
#[derive(Clone, Debug)]
pub struct AsyncSettings {
    /// How queries are carried out unless `$http_req(...)` says otherwise.
    pub manner: Manner,
    /// `tls_client_cert` and `tls_client_key`, as they were given.
    pub certificate: (Str, Str),
}

impl Default for AsyncSettings {
    fn default() -> Self {
        let manner = Manner { timeout: Some(Duration::from_millis(500)), ..Manner::default() };
        AsyncSettings { manner, certificate: (Str::default(), Str::default()) }
    }
}
