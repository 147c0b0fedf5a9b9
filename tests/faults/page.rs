//! The page of results, `docs/faults.md`.

use std::fmt::Write as _;
use std::fs;

use crate::bed::{ROWS, Row};
use crate::matrix::{self, Cell};
use crate::support::lock;

const PAGE: &str = "docs/faults.md";

const HEAD: &str = "# Faults

What scripts and other callers notice when a backend fails, measured by `tests/faults`: real servers (MariaDB, nginx, FreeRADIUS,
dnsmasq, programs of the shell, the server's own SQLite helper), reached through a network namespace whose address swallows packets or
has no route, killed, stopped (SIGSTOP) and restarted; and a relay in front of them that resets, half-closes, garbles, drips or floods a
connection when it has got to the phase. One server with one worker, debug build, several of these tests at once on one machine.

For each row three requests wait with `async(f, route, 1)` (the first number of *ended after* against that limit), while OPTIONS pass through
the same worker 200 times a second: none is lost, and the time within which 99 % are answered is at most three times that of the
same server without the fault, or below 20 ms. Afterwards the same backend works again, and open files, children, memory and
waits are back where they were.

*resolve*: the name server fails (every way it can fail stands under `dns`). *connect*: nothing has been sent yet. *TLS*, *login*: the
connection stands, the handshake or the login has begun. *write*: the request is larger than what the way to the server holds.
*first byte*: the server has the request. *mid-answer*: a part of the answer has come. *idle*: the connection is kept from an
operation before; the fault comes between the two. `1` with no error: the operation succeeded all the same, over a fresh connection, a
repeated datagram, or because a program's end is no failure of `exec`.

What cannot happen has no row: nothing is half-closed that carries datagrams, a datagram and the SQLite helper's answer come whole, a
program's input (a value of at most 64 KiB) always fits into its pipe, and so on; `tests/faults/matrix.rs` has the rules.

The same program traces a worker's system calls (strace) while every kind is in flight, over UDP and TCP: each call on a file descriptor is
on one that is set not to wait, no file is opened, nothing sleeps, and only the loop's own `epoll_wait` waits. Starting a command
(`posix_spawn`) holds the worker up until the child has its program.

This page is written by `cargo test --test faults -- --page`.

| kind | phase | fault | `$rc` | `$async_err` | `$async_phase` | ended after | p99 with, without |
|---|---|---|---:|---|---|---:|---:|
";

fn begin(cell: Cell) -> String {
    format!("| {} | {} | {} |", cell.kind, cell.phase, cell.fault)
}

fn line(row: &Row) -> String {
    let ms = |d: std::time::Duration| format!("{:.1}", d.as_secs_f64() * 1000.0);
    let word = |w: &str| if w == "none" || w.is_empty() { "–".to_owned() } else { w.to_owned() };
    format!(
        "{} {} | {} | {} | {:.2} of {} s | {}, {} ms |\n",
        begin(row.cell),
        row.rc,
        word(&row.error),
        word(&row.phase),
        row.took.as_secs_f64(),
        row.cell.limit(),
        ms(row.with),
        ms(row.without)
    )
}

/// Writes the page; every cell must have been played.
pub fn write() -> Result<(), String> {
    let rows = lock(&ROWS);
    let mut text = HEAD.to_owned();
    for cell in matrix::all() {
        let row = rows.iter().find(|r| r.cell == cell).ok_or_else(|| format!("{cell}: no result"))?;
        text.push_str(&line(row));
    }
    let _ = writeln!(text, "\n{} cells.", matrix::all().len());
    fs::write(PAGE, text).map_err(|e| format!("{PAGE}: {e}"))
}

/// Every cell has its row on the page, and no row is of a cell that is gone.
pub fn is_complete() {
    let text = fs::read_to_string(PAGE).unwrap_or_default();
    let cells = matrix::all();
    let missing: Vec<String> =
        cells.iter().filter(|c| !text.contains(&format!("\n{}", begin(**c)))).map(|c| c.to_string()).collect();
    assert!(missing.is_empty(), "{PAGE} lacks (cargo test --test faults -- --page): {missing:#?}");
    let rows = text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| kind")).count();
    assert_eq!(rows, cells.len(), "{PAGE} has rows of cells that are gone");
}
