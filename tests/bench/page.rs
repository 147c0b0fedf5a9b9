//! Puts tables into a Markdown page, between the marks that bear their names:
//! `<!-- bench NAME -->` ... `<!-- end -->`.

/// Replaces what stands between the marks of each table in the file. A table without marks is left out.
pub fn update(path: &str, tables: &[(&str, String)]) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    std::fs::write(path, filled(&text, tables)?).map_err(|e| e.to_string())
}

fn filled(text: &str, tables: &[(&str, String)]) -> Result<String, String> {
    const END: &str = "<!-- end -->";
    let mut text = text.to_owned();
    for (name, table) in tables {
        let mark = format!("<!-- bench {name} -->");
        let Some(at) = text.find(&mark) else { continue };
        let start = at + mark.len();
        let Some(len) = text[start..].find(END) else { return Err(format!("no {END} behind {mark}")) };
        text.replace_range(start..start + len, &format!("\n\n{}\n\n", table.trim()));
    }
    Ok(text)
}
