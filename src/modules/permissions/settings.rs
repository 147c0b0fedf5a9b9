//! The module's parameters as settings.

use super::address::Address;
use super::rules::RuleFile;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::value::Value;
use std::path::Path;
use std::rc::Rc;

/// Names of tables and columns, and what is loaded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `load_backends`
    backends: i64,
    /// `db_mode`: 1: trusted peers are kept.
    pub(super) keeps_trusted: bool,
    /// `address_table`
    address_table: Str,
    /// `trusted_table`
    trusted_table: Str,
    /// `grp_col`, `ip_addr_col`, `mask_col`, `port_col`
    address_columns: [Str; 4],
    /// `source_col`, `proto_col`, `from_col`, `ruri_col`
    pub(super) trusted_columns: [Str; 4],
    /// `tag_col`
    tag_column: Str,
    /// `priority_col`
    pub(super) priority_column: Str,
    /// `peer_tag_avp`
    pub(super) tag_avp: Option<Str>,
    /// `peer_tag_mode`: 1: all matches count.
    pub(super) all_tags: bool,
    /// `proto_col`, `pattern_col`, `info_col` of OpenSIPS.
    further_columns: [Str; 3],
    /// Where names of files without a directory lie: beside the configuration.
    pub directory: String,
    /// `address_file`: its path, and its addresses at the start.
    pub file: Option<(String, Rc<Vec<Address>>)>,
    /// `default_allow_file`, `default_deny_file`
    pub default_files: [Str; 2],
    /// `allow_suffix`, `deny_suffix`
    pub suffixes: [Str; 2],
    /// `check_all_branches`
    pub all_branches: bool,
    /// The files of rules that the script names, as they are at the start.
    pub rules: Rc<Vec<RuleFile>>,
    /// Whose tables these are.
    pub dialect: Dialect,
    /// The database is that of `db_default_url`.
    pub by_default: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let names = |list: [&str; 4]| list.map(Str::from);
        Settings {
            backends: 0xffff,
            keeps_trusted: false,
            address_table: Str::from("address"),
            trusted_table: Str::from("trusted"),
            address_columns: names(["grp", "ip_addr", "mask", "port"]),
            trusted_columns: names(["src_ip", "proto", "from_pattern", "ruri_pattern"]),
            tag_column: Str::from("tag"),
            priority_column: Str::from("priority"),
            tag_avp: None,
            all_tags: false,
            further_columns: ["proto", "pattern", "context_info"].map(Str::from),
            directory: String::new(),
            file: None,
            default_files: ["permissions.allow", "permissions.deny"].map(Str::from),
            suffixes: [".allow", ".deny"].map(Str::from),
            all_branches: true,
            rules: Rc::default(),
            dialect: Dialect::Kamailio,
            by_default: false,
        }
    }
}

impl Settings {
    /// What holds in this dialect before any parameter is read.
    pub fn prepare(&mut self, dialect: Dialect) {
        self.dialect = dialect;
        if dialect == Dialect::OpenSips {
            self.address_columns[1] = Str::from("ip");
        }
    }

    /// The path of a file that goes by this name.
    pub fn place(&self, name: &str) -> String {
        Path::new(&self.directory).join(name).to_string_lossy().into_owned()
    }

    /// Whether these lists are wanted: bits of `load_backends`.
    pub fn wants(&self, backends: i64) -> bool {
        self.backends & backends != 0
    }

    /// Takes over a parameter; the error says what is wrong with it.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().unwrap_or_default();
        let int = value.to_int().unwrap_or(0);
        let [group, ip, mask, port] = &mut self.address_columns;
        let [source, proto, from, ruri] = &mut self.trusted_columns;
        let field = match param {
            "load_backends" => {
                self.backends = int;
                return Ok(());
            }
            "db_mode" => {
                self.keeps_trusted = int != 0;
                return Ok(());
            }
            "peer_tag_mode" => {
                self.all_tags = int != 0;
                return Ok(());
            }
            "peer_tag_avp" => {
                let inner = text.strip_prefix(b"$avp(").and_then(|t| t.strip_suffix(b")")).unwrap_or_default();
                let name = inner.strip_prefix(b"i:").or_else(|| inner.strip_prefix(b"s:")).unwrap_or(inner);
                if name.is_empty() {
                    return Err("peer_tag_avp is an AVP: $avp(NAME)".to_string());
                }
                self.tag_avp = Some(Str::from(name));
                return Ok(());
            }
            "check_all_branches" => {
                self.all_branches = int != 0;
                return Ok(());
            }
            // It lies beside the configuration: read where that is known.
            "address_file" => return Ok(()),
            "default_allow_file" | "default_deny_file" if text.is_empty() => {
                return Err(format!("{param} is the name of a file"));
            }
            "default_allow_file" => &mut self.default_files[0],
            "default_deny_file" => &mut self.default_files[1],
            "allow_suffix" => &mut self.suffixes[0],
            "deny_suffix" => &mut self.suffixes[1],
            "proto_col" if self.dialect == Dialect::OpenSips => &mut self.further_columns[0],
            "pattern_col" => &mut self.further_columns[1],
            "info_col" => &mut self.further_columns[2],
            "address_table" => &mut self.address_table,
            "trusted_table" => &mut self.trusted_table,
            "grp_col" => group,
            "ip_addr_col" | "ip_col" => ip,
            "mask_col" => mask,
            "port_col" => port,
            "source_col" => source,
            "proto_col" => proto,
            "from_col" => from,
            "ruri_col" => ruri,
            "tag_col" => &mut self.tag_column,
            "priority_col" => &mut self.priority_column,
            _ => return Ok(()),
        };
        *field = text;
        Ok(())
    }

    /// The addresses that a file lists; the error says what is wrong.
    pub fn addresses_in(path: &str, text: &str) -> Result<Vec<Address>, String> {
        let mut entries = Vec::new();
        for (n, line) in text.lines().enumerate() {
            entries.extend(Address::of_line(line).map_err(|why| format!("{path}:{}: {why}", n + 1))?);
        }
        Ok(entries)
    }

    /// The statement that reads the addresses; `None` if they are not wanted, or are in a file.
    pub fn address_query(&self) -> Option<String> {
        let [group, ip, mask, port] = self.address_columns.each_ref().map(Str::to_lossy);
        let (tag, table) = (self.tag_column.to_lossy(), self.address_table.to_lossy());
        let wanted = self.wants(1) && self.file.is_none();
        let [proto, pattern, info] = self.further_columns.each_ref().map(Str::to_lossy);
        let further = match self.dialect {
            Dialect::Kamailio => tag.into_owned(),
            Dialect::OpenSips => format!("{info}, {proto}, {pattern}"),
        };
        wanted.then(|| format!("SELECT {group}, {ip}, {mask}, {port}, {further} FROM {table}"))
    }

    /// The statement that reads the trusted peers; `None` if they are not wanted, or are asked for each time.
    pub fn trusted_query(&self) -> Option<String> {
        (self.wants(2) && self.keeps_trusted).then(|| {
            let priority = self.priority_column.to_lossy();
            format!("{} ORDER BY {priority} DESC", self.select_trusted())
        })
    }

    pub(super) fn select_trusted(&self) -> String {
        let [source, proto, from, ruri] = self.trusted_columns.each_ref().map(Str::to_lossy);
        let (tag, priority) = (self.tag_column.to_lossy(), self.priority_column.to_lossy());
        let table = self.trusted_table.to_lossy();
        format!("SELECT {source}, {proto}, {from}, {ruri}, {tag}, {priority} FROM {table}")
    }
}
