//! `tls_mgm`: TLS domains. Client domains name the certificates that `rest_init_client_tls` shows to web servers.

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};

const fn param(name: &'static str, ignored: bool, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored, doc }
}

const SIP: &str = "for SIP over TLS, which this version does not speak";
const DATABASE: &str = "domains are not read from a database";

/// The module. Values are those of one domain, `[NAME]VALUE`; without a name, of the domain `default`.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "tls_mgm",
    dialects: &[Dialect::OpenSips],
    functions: &[],
    params: &[
        param(
            "client_domain",
            false,
            "name of a domain for connections that this server makes; may be given many times",
        ),
        param(
            "certificate",
            false,
            "`[NAME]FILE`: PEM, the domain's certificate, followed by those that lead to its CA",
        ),
        param("private_key", false, "`[NAME]FILE`: PEM, its key, without a password"),
        param("ca_list", false, "`[NAME]FILE`: the CA certificates to trust instead of ssl_capath"),
        param("ca_dir", false, "`[NAME]DIRECTORY`: the same, a directory of files"),
        param(
            "verify_cert",
            false,
            "`[NAME]0`: the server's certificate need not be valid; `[NAME]1`: it must; default: as ssl_verifypeer says",
        ),
        param("server_domain", true, SIP),
        param("require_cert", true, "it is for servers: a client always sees the server's certificate"),
        param("tls_method", true, "TLS 1.2 and 1.3 are spoken"),
        param("ciphers_list", true, "the cipher suites of TLS 1.3 and those of 1.2 with forward secrecy are offered"),
        param("ec_curve", true, "X25519, P-256 and P-384 are offered"),
        param("dh_params", true, "finite-field Diffie-Hellman is not offered"),
        param("crl_dir", true, "revocation lists are not looked at"),
        param("crl_check_all", true, "revocation lists are not looked at"),
        param("tls_library", true, "rustls is built in"),
        param("match_ip_address", true, SIP),
        param("match_sip_domain", true, SIP),
        param("client_tls_domain_avp", true, SIP),
        param("client_sip_domain_avp", true, SIP),
        param("client_domain_avp", true, SIP),
        param("tls_handshake_timeout", true, SIP),
        param("tls_send_timeout", true, SIP),
        param("db_url", true, DATABASE),
        param("db_table", true, DATABASE),
        param("domain_col", true, DATABASE),
        param("match_ip_address_col", true, DATABASE),
        param("match_sip_domain_col", true, DATABASE),
        param("tls_method_col", true, DATABASE),
        param("verify_cert_col", true, DATABASE),
        param("require_cert_col", true, DATABASE),
        param("certificate_col", true, DATABASE),
        param("private_key_col", true, DATABASE),
        param("crl_check_all_col", true, DATABASE),
        param("crl_dir_col", true, DATABASE),
        param("ca_list_col", true, DATABASE),
        param("ca_dir_col", true, DATABASE),
        param("cipher_list_col", true, DATABASE),
        param("dh_params_col", true, DATABASE),
        param("ec_curve_col", true, DATABASE),
    ],
    any_param: false,
    needs: &[],
};
