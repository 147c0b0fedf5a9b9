//! Parameters of Kamailio's `http_client` and `http_async_client`: connections, and files that main reads before it gives
//! up its privileges.

use crate::base::Str;
use crate::base::names::suggest;
use crate::modules::env::Settings;
use crate::modules::host::SipHost;
use crate::modules::http::settings::{Connection, Manner};
use crate::modules::http::vars::MAX_REDIRECTS;
use crate::net::tls::Identity;
use crate::ops::HttpOptions;
use crate::ops::http::proxy::Proxy;
use crate::ops::http::url::Url;
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::ir::ArgPlan;
use crate::script::program::{ModParam, Program};
use crate::script::source::{SourceMap, Span};
use crate::script::value::Value;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Functions whose first argument is the name of a connection.
const OF_CONNECTIONS: [&str; 3] = ["http_connect", "http_connect_raw", "http_get_redirect"];

/// Largest file of connections, bytes.
const MAX_FILE: u64 = 1 << 20;

/// What parameters have said so far.
#[derive(Clone, Default)]
struct Draft {
    /// In the unit of `timeout_mode`.
    timeout: Option<u64>,
    agent: Option<Str>,
    user: Str,
    password: Str,
    methods: Option<u8>,
    kept: usize,
    options: HttpOptions,
    certificate: String,
    key: String,
    proxy: String,
    proxy_port: Option<u16>,
}

/// What else a connection says.
#[derive(Default)]
struct Rest {
    url: Option<String>,
    failover: Option<Str>,
}

impl Draft {
    /// Takes over an attribute; `None`: there is none of this name, `Some(Err)`: its value is wrong.
    fn set(&mut self, name: &str, value: &str, rest: &mut Rest) -> Option<Result<(), String>> {
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        let number = || match value.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => Ok(1),
            "no" | "off" | "false" => Ok(0),
            digits => digits.parse::<u64>().map_err(|_| format!("`{name}` takes a number, `{value}` is none")),
        };
        let size = || number().and_then(|n| usize::try_from(n).map_err(|e| e.to_string()));
        let done = match name {
            "timeout" | "connection_timeout" => number().map(|n| self.timeout = Some(n)),
            "useragent" => {
                self.agent = Some(Str::from(value));
                Ok(())
            }
            "username" => {
                self.user = Str::from(value);
                Ok(())
            }
            "password" => {
                self.password = Str::from(value);
                Ok(())
            }
            "authmethod" => number().map(|n| self.methods = Some((n & 3) as u8)),
            "maxdatasize" => size().map(|n| self.kept = n),
            "httpredirect" | "http_follow_redirect" | "curl_follow_redirect" => {
                number().map(|n| self.options.redirects = if n == 0 { 0 } else { MAX_REDIRECTS })
            }
            "verify_peer" | "tls_verify_peer" => number().map(|n| self.options.verify_peer = n != 0),
            "verify_host" | "tls_verify_host" => number().map(|n| self.options.verify_host = n != 0),
            "client_cert" | "clientcert" | "tls_client_cert" => {
                self.certificate = value.to_string();
                Ok(())
            }
            "client_key" | "clientkey" | "tls_client_key" => {
                self.key = value.to_string();
                Ok(())
            }
            "cacert" | "tls_ca_path" => {
                self.options.ca_file = Some(Str::from(value)).filter(|v| !v.is_empty());
                Ok(())
            }
            "httpproxy" => {
                self.proxy = value.to_string();
                Ok(())
            }
            "httpproxyport" => {
                let port = number().and_then(|n| u16::try_from(n).map_err(|_| format!("{n} is no port")));
                port.map(|n| self.proxy_port = Some(n))
            }
            "url" => {
                rest.url = Some(value.to_string());
                Ok(())
            }
            "failover" => {
                rest.failover = Some(Str::from(value)).filter(|v| !v.is_empty());
                Ok(())
            }
            "tlsversion" | "cipher_suites" | "keep_connections" | "netinterface" | "sslversion" => Ok(()),
            _ => return None,
        };
        Some(done)
    }
}

/// Attributes of a connection, for "did you mean".
const ATTRIBUTES: [&str; 20] = [
    "authmethod",
    "cacert",
    "cipher_suites",
    "client_cert",
    "client_key",
    "failover",
    "http_follow_redirect",
    "httpproxy",
    "httpproxyport",
    "httpredirect",
    "keep_connections",
    "maxdatasize",
    "netinterface",
    "password",
    "timeout",
    "tlsversion",
    "useragent",
    "username",
    "verify_host",
    "verify_peer",
];

/// Everything that is read, and where what is wrong is said.
struct Reader<'a> {
    settings: &'a mut Settings,
    diags: &'a mut Diagnostics,
    /// `timeout_mode`
    mode: i64,
}

/// Takes over the parameters of both modules, and checks the names of connections in the program.
pub(super) fn read(
    settings: &mut Settings,
    params: &[ModParam],
    map: &SourceMap,
    program: Option<&Program<SipHost>>,
    diags: &mut Diagnostics,
) {
    let own = |module: &'static str| params.iter().filter(move |p| p.module == module);
    let mode = own("http_client").filter(|p| p.param == "timeout_mode").filter_map(|p| p.value.to_int()).next_back();
    let mut reader = Reader { settings, diags, mode: mode.unwrap_or(1) };
    let mut draft = Draft::default();
    for p in own("http_client") {
        reader.parameter(&mut draft, p, map);
    }
    let last = own("http_client").next_back().map(|p| p.span);
    if let Some(span) = last {
        reader.settings.http_client.manner = reader.manner(&draft, span);
        reader.check_failover(span);
        if let Some(program) = program {
            reader.check_names(program);
        }
    }
    reader.asynchronous(own("http_async_client"));
}

impl Reader<'_> {
    fn wrong(&mut self, span: Span, text: impl Into<String>) {
        self.diags.push(Diagnostic::error("E0505", span, text.into()));
    }

    fn parameter(&mut self, draft: &mut Draft, p: &ModParam, map: &SourceMap) {
        let text = p.value.to_text().unwrap_or_default().to_lossy().into_owned();
        let size = || p.value.to_int().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        match p.param.as_str() {
            "timeout_mode" => {}
            "query_result" => self.settings.http_client.first_line = p.value.to_int() != Some(0),
            "query_maxdatasize" => self.settings.http_client.query_kept = size(),
            "httpcon" => match connection(draft, &text) {
                Ok((name, draft, rest)) => self.define(name, &draft, rest, p.span),
                Err(why) => self.wrong(p.span, why),
            },
            "config_file" => {
                let path = located(&text, map.position(p.span).0);
                match file(&path) {
                    Ok(text) => self.sections(draft, &text, &path, p.span),
                    Err(why) => self.wrong(p.span, format!("{}: {why}", path.display())),
                }
            }
            name => {
                if let Some(Err(why)) = draft.set(name, &text, &mut Rest::default()) {
                    self.wrong(p.span, why);
                }
            }
        }
    }

    /// The connections of a file: `[NAME]`, then `attribute = value` lines.
    fn sections(&mut self, usual: &Draft, text: &str, path: &Path, span: Span) {
        let mut open: Option<(String, Draft, Rest)> = None;
        for (n, line) in text.lines().enumerate() {
            let at = |why: String| format!("{}, line {}: {why}", path.display(), n + 1);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                if let Some((name, draft, rest)) = open.take() {
                    self.define(name, &draft, rest, span);
                }
                open = Some((name.trim().to_string(), usual.clone(), Rest::default()));
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                self.wrong(span, at("expected `[NAME]` or `attribute = value`".into()));
                continue;
            };
            let Some((_, draft, rest)) = &mut open else {
                self.wrong(span, at("an attribute stands behind the `[NAME]` of its connection".into()));
                continue;
            };
            let value = value.split(" #").next().unwrap_or_default();
            match draft.set(key.trim(), value, rest) {
                Some(Ok(())) => {}
                Some(Err(why)) => self.wrong(span, at(why)),
                None => self.wrong(span, at(unknown(key.trim()))),
            }
        }
        if let Some((name, draft, rest)) = open {
            self.define(name, &draft, rest, span);
        }
    }

    fn define(&mut self, name: String, draft: &Draft, rest: Rest, span: Span) {
        let text = rest.url.unwrap_or_default();
        if text.is_empty() {
            return self.wrong(span, format!("httpcon `{name}` has no address"));
        }
        let url = match Url::parse(text.as_bytes()) {
            Ok(url) => url,
            Err(why) => return self.wrong(span, format!("httpcon `{name}`: {why}")),
        };
        if name.is_empty() {
            return self.wrong(span, "a connection needs a name");
        }
        if self.settings.http_client.connection(name.as_bytes()).is_some() {
            return self.wrong(span, format!("two connections are named `{name}`"));
        }
        let mut draft = draft.clone();
        if let Some((user, password)) = login(&text) {
            (draft.user, draft.password) = (user, password);
        }
        let scheme = if url.tls { "https" } else { "http" };
        let path = if text.trim_end().ends_with('/') || url.target != "/" { url.target.as_str() } else { "" };
        let base = Str::from(format!("{scheme}://{}{path}", url.host_field()));
        let manner = self.manner(&draft, span);
        self.settings.http_client.connections.push(Connection {
            name: Str::from(name),
            base,
            failover: rest.failover,
            manner,
        });
    }

    /// Everything a draft says, in the form that exchanges need; the files it names are read.
    fn manner(&mut self, draft: &Draft, span: Span) -> Manner {
        let mut options = draft.options.clone();
        options.connect_timeout = Duration::ZERO;
        if !draft.certificate.is_empty() {
            let name = format!("http:{}", draft.certificate);
            match Identity::load(Path::new(&draft.certificate), Path::new(&draft.key)) {
                Ok(identity) => {
                    self.settings.http.identities.push((name.clone(), identity));
                    options.identity = Some(Str::from(name));
                }
                Err(why) => self.wrong(span, why),
            }
        } else if !draft.key.is_empty() {
            self.wrong(span, "a key without a certificate: client_cert names it");
        }
        if !draft.proxy.is_empty() && draft.proxy_port != Some(0) {
            let mut text = draft.proxy.trim_end_matches('/').to_string();
            if let Some(port) = draft.proxy_port {
                text = format!("{text}:{port}");
            }
            match Proxy::parse(&text) {
                Ok(proxy) => options.proxy = Some(proxy),
                Err(why) => self.wrong(span, format!("httpproxy: {why}")),
            }
        }
        self.settings.http.trust.extend(options.ca_file.clone());
        let usual = Manner::default();
        let timeout = match (self.mode, draft.timeout) {
            (0, _) | (_, Some(0)) => None,
            (2, Some(n)) => Some(Duration::from_millis(n)),
            (_, Some(n)) => Some(Duration::from_secs(n)),
            (_, None) => usual.timeout,
        };
        Manner {
            timeout,
            agent: draft.agent.clone(),
            user: draft.user.clone(),
            password: draft.password.clone(),
            methods: draft.methods.unwrap_or(usual.methods),
            kept: draft.kept,
            options: Rc::new(options),
        }
    }

    fn unknown_connection(&mut self, name: &str, span: Span, what: &str) {
        let known: Vec<String> =
            self.settings.http_client.connections.iter().map(|c| c.name.to_lossy().into_owned()).collect();
        let d = Diagnostic::error("E0302", span, format!("{what}no httpcon is named `{name}`"));
        self.diags.push(match suggest(name, known.iter().map(String::as_str)) {
            Some(s) => d.help(format!("did you mean `{s}`?")),
            None => {
                d.help(format!("define it with `modparam(\"http_client\", \"httpcon\", \"{name}=>http://HOST/PATH\")`"))
            }
        });
    }

    fn check_failover(&mut self, span: Span) {
        let connections = self.settings.http_client.connections.clone();
        for c in &connections {
            if let Some(to) = c.failover.as_ref().filter(|to| !connections.iter().any(|o| o.name == **to)) {
                self.unknown_connection(&to.to_lossy(), span, &format!("failover of `{}`: ", c.name.to_lossy()));
            }
        }
    }

    /// The names of connections that are known before anything runs.
    fn check_names(&mut self, program: &Program<SipHost>) {
        for site in &program.sites {
            let of_connections = site.function.kamailio.is_some_and(|name| OF_CONNECTIONS.contains(&name));
            let Some(ArgPlan::Const(n)) = site.args.first().filter(|_| of_connections) else { continue };
            let Some(name) = program.consts.get(*n as usize).and_then(Value::to_text) else { continue };
            if self.settings.http_client.connection(&name).is_none() {
                self.unknown_connection(&name.to_lossy(), site.span, "");
            }
        }
    }

    fn asynchronous<'p>(&mut self, params: impl Iterator<Item = &'p ModParam>) {
        let mut draft = Draft { timeout: Some(500), ..Draft::default() };
        let mut last = None;
        for p in params {
            last = Some(p.span);
            let text = p.value.to_text().unwrap_or_default().to_lossy().into_owned();
            if let Some(Err(why)) = draft.set(&p.param, &text, &mut Rest::default()) {
                self.wrong(p.span, why);
            }
        }
        let Some(span) = last else { return };
        self.mode = 2;
        let manner = self.manner(&draft, span);
        let settings = &mut self.settings.http_async;
        settings.certificate = (Str::from(draft.certificate.as_str()), Str::from(draft.key.as_str()));
        settings.manner = manner;
    }
}

fn unknown(name: &str) -> String {
    match suggest(name, ATTRIBUTES) {
        Some(s) => format!("a connection has no attribute `{name}`; did you mean `{s}`?"),
        None => format!("a connection has no attribute `{name}`; known are {}", ATTRIBUTES.join(", ")),
    }
}

/// Reads `NAME=>URL[;attribute=value...]`.
fn connection(usual: &Draft, text: &str) -> Result<(String, Draft, Rest), String> {
    let (name, definition) = text.split_once("=>").ok_or("a connection is `NAME=>http://HOST/PATH;attribute=value`")?;
    let mut parts = definition.trim().split(';');
    let mut draft = usual.clone();
    let mut rest = Rest { url: parts.next().map(|u| u.trim().to_string()), ..Rest::default() };
    for part in parts.map(str::trim).filter(|p| !p.is_empty()) {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is no `attribute=value`"))?;
        draft.set(key.trim(), value, &mut rest).unwrap_or_else(|| Err(unknown(key.trim())))?;
    }
    Ok((name.trim().to_string(), draft, rest))
}

/// User and password of a URL.
fn login(url: &str) -> Option<(Str, Str)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, _) = authority.rsplit_once('@')?;
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    Some((Str::from(user), Str::from(password)))
}

/// Where a file is that a configuration names: with a dot in front from here, else from the configuration's folder.
fn located(name: &str, config: &str) -> PathBuf {
    if name.starts_with(['/', '.']) {
        return PathBuf::from(name);
    }
    Path::new(config).parent().unwrap_or(Path::new("")).join(name)
}

fn file(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > MAX_FILE {
        return Err("larger than 1 MiB".into());
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::{Loaded, load_text};

    fn loaded(params: &str, body: &str) -> Loaded {
        let text = format!(
            "#!KAMAILIO\nlisten=udp:127.0.0.1:5060\nloadmodule \"tm.so\"\nloadmodule \"pv.so\"\nloadmodule \
             \"http_client.so\"\nloadmodule \"http_async_client.so\"\n{params}\nrequest_route {{ {body} }}\nroute[R] {{ exit; }}\n"
        );
        load_text("http.cfg", &text, crate::script::parse::Options::default())
    }

    fn settings(params: &str) -> Settings {
        let loaded = loaded(params, "exit;");
        let found: Vec<String> = loaded.diags.list().iter().map(|d| d.message.clone()).collect();
        loaded.server.unwrap_or_else(|| panic!("{found:?}")).1.settings
    }

    fn wrong(params: &str, body: &str) -> String {
        let found: Vec<String> = loaded(params, body).diags.list().iter().map(|d| d.message.clone()).collect();
        found.join("; ")
    }

    #[test]
    fn connections() {
        let s = settings(
            "modparam(\"http_client\", \"useragent\", \"tester\")\n\
             modparam(\"http_client\", \"httpcon\", \"a=>http://u:p@h:81/api;timeout=7;failover=b;authmethod=1\")\n\
             modparam(\"http_client\", \"connection_timeout\", 2)\n\
             modparam(\"http_client\", \"httpcon\", \"b=>https://h2/;httpredirect=1;maxdatasize=10\")\n\
             modparam(\"http_client\", \"httpcon\", \"c=>http://h3\")\n\
             modparam(\"http_client\", \"httpproxy\", \"http://proxy\")\n\
             modparam(\"http_client\", \"httpproxyport\", 3128)\n",
        )
        .http_client;
        let (a, b, c) = (s.connection(b"a").unwrap(), s.connection(b"b").unwrap(), s.connection(b"c").unwrap());
        assert_eq!(&a.base[..], b"http://h:81/api");
        assert_eq!((&a.manner.user[..], &a.manner.password[..], a.manner.methods), (&b"u"[..], &b"p"[..], 1));
        assert_eq!((a.manner.timeout, a.failover.as_deref()), (Some(Duration::from_secs(7)), Some(&b"b"[..])));
        assert_eq!(a.manner.agent.as_deref(), Some(&b"tester"[..]));
        assert_eq!((&b.base[..], b.manner.kept, b.manner.options.redirects), (&b"https://h2/"[..], 10, MAX_REDIRECTS));
        assert_eq!((b.manner.timeout, &c.base[..]), (Some(Duration::from_secs(2)), &b"http://h3"[..]));
        assert!(c.manner.options.proxy.is_none(), "what stands below it is not for it");
        assert_eq!(s.manner.options.proxy.as_ref().map(|p| p.port), Some(3128));
    }

    #[test]
    fn times() {
        let of = |text: &str| settings(text).http_client.manner.timeout;
        assert_eq!(of("modparam(\"http_client\", \"query_result\", 0)"), Some(Duration::from_secs(4)));
        assert_eq!(of("modparam(\"http_client\", \"timeout_mode\", 0)"), None);
        let both =
            "modparam(\"http_client\", \"connection_timeout\", 700)\nmodparam(\"http_client\", \"timeout_mode\", 2)";
        assert_eq!(of(both), Some(Duration::from_millis(700)));
        let limit = settings("modparam(\"http_async_client\", \"connection_timeout\", 900)").http_async.manner.timeout;
        assert_eq!(limit, Some(Duration::from_millis(900)));
    }

    #[test]
    fn a_file_of_connections() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("con.cfg");
        std::fs::write(&file, "# mine\n[x]\nurl = https://h/v1\ntimeout = 1\nverify_peer = no\nhttp_follow_redirect = yes\n\n[y]\nurl=\"http://i\"\n").unwrap();
        let param = format!("modparam(\"http_client\", \"config_file\", \"{}\")", file.display());
        let s = settings(&param).http_client;
        let x = s.connection(b"x").unwrap();
        assert_eq!((&x.base[..], x.manner.timeout), (&b"https://h/v1"[..], Some(Duration::from_secs(1))));
        assert!(!x.manner.options.verify_peer && x.manner.options.redirects > 0);
        assert_eq!(&s.connection(b"y").unwrap().base[..], b"http://i");
        std::fs::write(&file, "url = http://h\n[x]\nnonsense = 1\nurl = ftp://h\n").unwrap();
        let text = wrong(&param, "exit;");
        assert!(text.contains("line 1") && text.contains("line 3") && text.contains("scheme"), "{text}");
        assert!(wrong("modparam(\"http_client\", \"config_file\", \"/nowhere\")", "exit;").contains("/nowhere"));
    }

    #[test]
    fn what_is_wrong() {
        let con = |text: &str| wrong(&format!("modparam(\"http_client\", \"httpcon\", \"{text}\")"), "exit;");
        assert!(con("http://h").contains("NAME=>"));
        assert!(con("a=>ftp://h").contains("scheme"));
        assert!(con("a=>http://h;timeot=3").contains("did you mean `timeout`"));
        assert!(con("a=>http://h;timeout=x").contains("number"));
        assert!(con("a=>http://h;failover=zz").contains("zz"));
        assert!(con("a=>").contains("address"));
        let one = "modparam(\"http_client\", \"httpcon\", \"api=>http://h\")";
        assert!(wrong(one, "http_connect(\"apii\", \"/\", \"$var(x)\");").contains("apii"));
        assert_eq!(
            wrong(one, "http_connect(\"api\", \"/\", \"$var(x)\"); http_connect(\"$rU\", \"/\", \"$var(x)\");"),
            ""
        );
        assert!(wrong("", "http_client_query(\"http://h\", \"x\", \"y\");").contains("must be a variable"));
        assert!(wrong("", "http_async_query(\"http://h\", \"nowhere\");").contains("nowhere"));
        assert!(wrong("", "$http_req(metod) = \"GET\";").contains("http_req"));
        let key = "modparam(\"http_client\", \"client_key\", \"/k\")";
        assert!(wrong(key, "exit;").contains("client_cert"));
    }
}
