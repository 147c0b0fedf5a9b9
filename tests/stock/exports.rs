//! What a module of the installed Kamailio offers to scripts: its tables of functions, parameters and variables, read from the
//! module's file (x86-64 ELF, the layout of `module_exports` of release 5.6).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What one module offers.
#[derive(Debug, Default)]
pub struct Exports {
    /// Functions of scripts, with the number of arguments (negative: any).
    pub functions: Vec<(String, i32)>,
    /// Parameters.
    pub parameters: Vec<String>,
    /// Variables, without `$`.
    pub variables: Vec<String>,
}

/// The folder that the package puts its modules into.
pub fn folder() -> PathBuf {
    let found = fs::read_dir("/usr/lib").expect("/usr/lib").flatten().map(|e| e.path().join("kamailio/modules"));
    let mut folders: Vec<PathBuf> = found.filter(|p| p.is_dir()).collect();
    folders.sort();
    folders.pop().expect("the modules of Kamailio's package")
}

/// Reads the tables of a module's file.
pub fn read(file: &Path) -> Exports {
    let bytes = fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let elf = Elf::new(&bytes);
    let exports = elf.exports.unwrap_or_else(|| panic!("{} has no table of exports", file.display()));
    let at = |offset: u64| elf.pointers.get(&(exports + offset)).copied();
    let mut out = Exports::default();
    if let Some(table) = at(16) {
        // name, function, number of arguments, two fixups, flags (and what a later release may add)
        let stride = elf.stride(table, 40..=72);
        out.functions = elf.names(table, stride).map(|(place, name)| (name, elf.int(place + 16))).collect();
    }
    if let Some(table) = at(24) {
        out.parameters = elf.names(table, 24).map(|(_, name)| name).collect();
    }
    if let Some(table) = at(40) {
        let stride = elf.stride(table, 32..=120);
        out.variables = elf.names(table, stride).map(|(_, name)| name).collect();
    }
    out
}

struct Elf<'a> {
    bytes: &'a [u8],
    /// Address, offset and size of what is in the file.
    sections: Vec<(u64, u64, u64)>,
    /// Where a pointer stands, and what it points to.
    pointers: HashMap<u64, u64>,
    exports: Option<u64>,
}

impl<'a> Elf<'a> {
    fn new(bytes: &'a [u8]) -> Elf<'a> {
        const SYMBOLS: u64 = 11;
        const RELOCATIONS: u64 = 4;
        assert_eq!(&bytes[..5], b"\x7fELF\x02", "a file of another kind");
        let (table, size, count) = (number(bytes, 40, 8), number(bytes, 58, 2), number(bytes, 60, 2));
        let field = |section: u64, at: u64, len: usize| number(bytes, table + section * size + at, len);
        let placed = (0..count).filter(|s| field(*s, 4, 4) != 8 && field(*s, 16, 8) != 0);
        let sections = placed.map(|s| (field(s, 16, 8), field(s, 24, 8), field(s, 32, 8))).collect();
        let (mut pointers, mut exports) = (HashMap::new(), None);
        for section in 0..count {
            let (kind, from, len) = (field(section, 4, 4), field(section, 24, 8), field(section, 32, 8));
            let linked = field(section, 40, 4);
            if kind == RELOCATIONS {
                let symbols = field(linked, 24, 8);
                for at in (from..from + len).step_by(24) {
                    let (place, info, addend) =
                        (number(bytes, at, 8), number(bytes, at + 8, 8), number(bytes, at + 16, 8));
                    let value = number(bytes, symbols + (info >> 32) * 24 + 8, 8);
                    match info & 0xffff_ffff {
                        // R_X86_64_RELATIVE, R_X86_64_64
                        8 => pointers.insert(place, addend),
                        1 if value != 0 => pointers.insert(place, value.wrapping_add(addend)),
                        _ => None,
                    };
                }
            }
            if kind == SYMBOLS {
                let names = field(linked, 24, 8);
                let named = |at: &u64| bytes[(names + number(bytes, *at, 4)) as usize..].starts_with(b"exports\0");
                let found = (from..from + len).step_by(24).find(named);
                exports = found.map(|at| number(bytes, at + 8, 8)).or(exports);
            }
        }
        Elf { bytes, sections, pointers, exports }
    }

    fn offset(&self, address: u64) -> Option<usize> {
        let (from, offset, _) = self.sections.iter().find(|(from, _, len)| (*from..from + len).contains(&address))?;
        usize::try_from(offset + address - from).ok()
    }

    /// The text that the pointer at a place points to, if it is one.
    fn name(&self, place: u64) -> Option<String> {
        let rest = &self.bytes[self.offset(*self.pointers.get(&place)?)?..];
        let text = &rest[..rest.iter().position(|b| *b == 0)?];
        let printable = !text.is_empty() && text.iter().all(|b| b.is_ascii_graphic());
        printable.then(|| String::from_utf8_lossy(text).into_owned())
    }

    fn int(&self, place: u64) -> i32 {
        self.offset(place).map_or(0, |at| number(self.bytes, at as u64, 4) as i32)
    }

    /// The distance between two entries of a table that begin with a name.
    fn stride(&self, table: u64, between: std::ops::RangeInclusive<u64>) -> u64 {
        between.step_by(8).find(|d| self.name(table + d).is_some()).unwrap_or(64)
    }

    fn names(&self, table: u64, stride: u64) -> impl Iterator<Item = (u64, String)> {
        (0..).map(move |n| table + n * stride).map_while(|place| Some((place, self.name(place)?)))
    }
}

/// A little-endian number.
fn number(bytes: &[u8], at: u64, len: usize) -> u64 {
    let at = usize::try_from(at).expect("an offset");
    bytes[at..at + len].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}
