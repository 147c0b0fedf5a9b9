//! A certificate authority of the tests' own, and what it issued. Made once per test program with
//! the `openssl` tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::process;

/// A certificate and its key, PEM files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// The private key (PKCS#8).
    pub key: PathBuf,
}

/// The authority and its certificates.
pub struct TestCa {
    /// The authority's certificate: what clients are told to trust.
    pub ca: PathBuf,
    /// For `localhost`, `127.0.0.1` and `server.test`.
    pub server: Certificate,
    /// For a client that has to show a certificate.
    pub client: Certificate,
    /// For `other.test` only: the wrong name for every private server.
    pub wrong_name: Certificate,
    /// For `localhost` and `127.0.0.1`, but over since 2001.
    pub expired: Certificate,
    /// For `localhost` and `127.0.0.1` from an authority that nobody trusts.
    pub untrusted: Certificate,
    dir: PathBuf,
}

/// The authority of this test program.
pub fn get() -> &'static TestCa {
    static CA: OnceLock<TestCa> = OnceLock::new();
    CA.get_or_init(|| TestCa::create(&process::directory("ca").keep()))
}

const LOCAL: &str = "DNS:localhost,DNS:server.test,IP:127.0.0.1,IP:::1";

impl TestCa {
    fn create(dir: &Path) -> TestCa {
        authority(dir, "ca");
        authority(dir, "stranger");
        TestCa {
            ca: dir.join("ca.pem"),
            server: issue(dir, "ca", "server", LOCAL, None),
            client: issue(dir, "ca", "client", "DNS:client.test", None),
            wrong_name: issue(dir, "ca", "wrong", "DNS:other.test", None),
            expired: issue(dir, "ca", "expired", LOCAL, Some(("20000101000000Z", "20010101000000Z"))),
            untrusted: issue(dir, "stranger", "untrusted", LOCAL, None),
            dir: dir.to_owned(),
        }
    }

    /// A certificate for other names, e.g. `DNS:sip.example.test,IP:198.18.0.1`.
    pub fn issue(&self, name: &str, alt_names: &str) -> Certificate {
        issue(&self.dir, "ca", name, alt_names, None)
    }
}

fn openssl(args: &[&str]) {
    process::run("openssl", args);
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_string_lossy().into_owned()
}

fn key(dir: &Path, name: &str) -> String {
    let file = path(dir, &format!("{name}.key"));
    openssl(&["genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &file]);
    // Test keys guard nothing, and the server that reads one may run under another user id.
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("permissions");
    file
}

fn authority(dir: &Path, name: &str) {
    let key = key(dir, name);
    let cert = path(dir, &format!("{name}.pem"));
    let subject = format!("/CN=reprise test {name}");
    openssl(&[
        "req",
        "-x509",
        "-new",
        "-key",
        &key,
        "-sha256",
        "-days",
        "3650",
        "-subj",
        &subject,
        "-out",
        &cert,
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ]);
    fs::write(dir.join(format!("{name}.index")), "").expect("index written");
    let config = format!(
        "[ca]\ndefault_ca=d\n[d]\ndatabase={name}.index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\n\
         unique_subject=no\ndefault_days=3650\npolicy=p\ncopy_extensions=copy\n[p]\ncommonName=supplied\n\
         [req]\ndistinguished_name=n\n[n]\n"
    )
    .replace("=.\n", &format!("={}\n", dir.display()))
    .replace(&format!("={name}.index"), &format!("={}", path(dir, &format!("{name}.index"))));
    fs::write(dir.join(format!("{name}.cnf")), config).expect("configuration written");
}

fn issue(dir: &Path, by: &str, name: &str, alt_names: &str, dates: Option<(&str, &str)>) -> Certificate {
    let key = key(dir, name);
    let request = path(dir, &format!("{name}.csr"));
    let cert = path(dir, &format!("{name}.pem"));
    let alt = format!("subjectAltName={alt_names}");
    let (subject, config) = (format!("/CN={name}"), path(dir, &format!("{by}.cnf")));
    openssl(&[
        "req",
        "-new",
        "-config",
        &config,
        "-key",
        &key,
        "-subj",
        &subject,
        "-addext",
        &alt,
        "-addext",
        "basicConstraints=CA:FALSE",
        "-out",
        &request,
    ]);
    let (ca_cert, ca_key) = (path(dir, &format!("{by}.pem")), path(dir, &format!("{by}.key")));
    let mut args = vec![
        "ca", "-batch", "-notext", "-config", &config, "-cert", &ca_cert, "-keyfile", &ca_key, "-in", &request, "-out",
        &cert,
    ];
    if let Some((from, until)) = dates {
        args.extend(["-startdate", from, "-enddate", until]);
    }
    openssl(&args);
    Certificate { cert: PathBuf::from(cert), key: PathBuf::from(key) }
}
