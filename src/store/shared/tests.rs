//! The store between real processes: who dies or stands still in the middle of a write. The other process is this
//! test binary again, told by its environment what to do ([`other_process`]).

use super::*;
use crate::base::Str;
use crate::script::value::Value;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SIZE: usize = 16 << 20;
const DIR: &str = "REPRISE_TEST_STORE_DIR";
const STEP: &str = "REPRISE_TEST_STORE_STEP";

fn name_of_test() -> &'static str {
    "store::shared::tests::other_process"
}

/// What the other process does: moves one from `a` to `b`, and notes that in `moves`.
fn move_one(store: &Shared) -> Result<()> {
    store.write(|change| {
        let get = |change: &Change<'_, '_>, name: &[u8]| -> Result<i64> {
            let row = change.view().get(&Key::of(b'v').name(name))?;
            Ok(row.map(|r| Stored::decode(&r)).transpose()?.and_then(|r| r.value.as_int()).unwrap_or(0))
        };
        let all: [(&[u8], i64); 3] = [(b"a", -1), (b"b", 1), (b"moves", 1)];
        for (name, by) in all {
            let n = get(change, name)? + by;
            change.put(&Key::of(b'v').name(name), &Stored::new(name, &Value::Int(n)).encode())?;
        }
        change.remove(&Key::of(b'v').name(b"none")).map(|_| ())
    })
}

/// Nothing by itself; the process that the other tests start.
#[test]
fn other_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = Shared::open(Path::new(&dir), SIZE, None).unwrap();
    move_one(&store).unwrap();
}

fn start_other(dir: &Path, step: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name_of_test(), "--test-threads=1"]).env(DIR, dir).env(STEP, step);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn numbers(store: &Shared) -> [i64; 3] {
    [b"a".as_slice(), b"b", b"moves"].map(|n| store.variable(n).unwrap().as_int().unwrap())
}

fn fresh() -> (tempfile::TempDir, Shared) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = Shared::open(dir.path(), SIZE, None).unwrap();
    store.set_variable(b"a", &Value::Int(100)).unwrap();
    (dir, store)
}

#[test]
fn what_another_process_writes_is_seen_here() {
    let (dir, store) = fresh();
    assert!(start_other(dir.path(), "").wait().unwrap().success());
    assert_eq!(numbers(&store), [99, 1, 1]);
}

#[test]
fn who_dies_at_any_step_of_a_write_leaves_the_store_whole() {
    let steps = ["locked", "begun", "put", "remove", "changed", "committed", "released"];
    for step in steps {
        let (dir, store) = fresh();
        assert!(!start_other(dir.path(), step).wait().unwrap().success(), "{step}");
        let done = matches!(step, "committed" | "released");
        assert_eq!(numbers(&store), if done { [99, 1, 1] } else { [100, 0, 0] }, "{step}");
        // The lock of the dead is nobody's.
        move_one(&store).unwrap();
        assert_eq!(numbers(&store)[2], i64::from(done) + 1, "{step}");
        store.clear_stale();
    }
}

/// The same inside LMDB: killed at each of its system calls, from the first on until one run gets through.
#[test]
fn who_dies_at_any_system_call_leaves_the_store_whole() {
    let mut killed = 0;
    for call in ["pwrite64", "writev", "pwritev", "fcntl", "ftruncate", "futex"] {
        for n in 1.. {
            let (dir, store) = fresh();
            let status = Command::new("strace")
                .args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}")])
                .args(["-e", &format!("inject={call}:signal=SIGKILL:when={n}")])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", name_of_test(), "--test-threads=1"])
                .env(DIR, dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .expect("strace: see tests/install-parts");
            let found = numbers(&store);
            assert!(found == [100, 0, 0] || found == [99, 1, 1], "{call} {n}: {found:?}");
            move_one(&store).unwrap();
            assert_eq!(numbers(&store)[2], found[2] + 1, "{call} {n}");
            if status.success() {
                break;
            }
            killed += 1;
            assert!(n < 500, "{call}: it is killed again and again");
        }
    }
    assert!(killed >= 5, "{killed}");
}

#[test]
fn who_stands_still_in_a_write_stops_nobody() {
    let (dir, store) = fresh();
    let mut other = start_other(dir.path(), "stop:changed");
    let pid = Pid::from_raw(other.id() as i32);
    assert_eq!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap(), WaitStatus::Stopped(pid, Signal::SIGSTOP));
    assert_eq!(numbers(&store), [100, 0, 0], "who reads waits for nobody");
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(move_one(&store), Err(StoreError::Busy));
    }
    // One of them waited, the others were told at once; not a bound for one, since the machine may be busy.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // A worker that starts meanwhile does so, though what it writes is refused as well.
    let mut third = start_other(dir.path(), "");
    assert!(!third.wait().unwrap().success());
    assert_eq!(numbers(&store), [100, 0, 0]);
    kill(pid, Signal::SIGCONT).unwrap();
    assert!(other.wait().unwrap().success());
    assert_eq!(numbers(&store), [99, 1, 1]);
    move_one(&store).unwrap();
    assert_eq!(numbers(&store), [98, 2, 2]);
}

#[test]
fn who_stood_still_and_was_killed_leaves_the_lock() {
    let (dir, store) = fresh();
    let mut other = start_other(dir.path(), "stop:begun");
    let pid = Pid::from_raw(other.id() as i32);
    waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(move_one(&store), Err(StoreError::Busy));
    other.kill().unwrap();
    other.wait().unwrap();
    move_one(&store).unwrap();
    assert_eq!(numbers(&store), [99, 1, 1]);
}

#[test]
fn variables_are_zero_until_they_are_set() {
    for store in [fresh().1, Shared::in_memory()] {
        assert_eq!(store.variable(b"x"), Ok(Value::Int(0)));
        store.set_variable(b"x", &Value::from("text")).unwrap();
        assert_eq!(store.variable(b"x"), Ok(Value::from("text")));
        store.set_variable(b"x", &Value::Null).unwrap();
        assert_eq!(store.variable(b"x"), Ok(Value::Int(0)));
        let long = vec![b'n'; 70_000];
        store.set_variable(&long, &Value::Int(7)).unwrap();
        assert_eq!(store.variable(&long), Ok(Value::Int(7)));
        assert_eq!(store.variable(&long[1..]), Ok(Value::Int(0)));
        let first = [(Str::from("begin"), Value::Int(5))];
        store.begin_with(&first).unwrap();
        store.set_variable(b"begin", &Value::Int(6)).unwrap();
        store.begin_with(&first).unwrap();
        assert_eq!(store.variable(b"begin"), Ok(Value::Int(6)), "a replaced worker does not begin anew");
    }
}

#[test]
fn a_full_store_says_so_and_goes_on() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = Shared::open(dir.path(), 1 << 20, None).unwrap();
    let text = Value::text(vec![b'x'; 20_000]);
    let set = |n: i32, value: &Value| store.set_variable(n.to_string().as_bytes(), value);
    let refused = (0..1000).find_map(|n| set(n, &text).err().map(|e| (n, e)));
    let Some((n, why)) = refused else { panic!("it never was full") };
    assert_eq!(why, StoreError::Full);
    assert_eq!(store.variable(n.to_string().as_bytes()), Ok(Value::Int(0)));
    assert_eq!(store.variable(b"0"), Ok(text.clone()));
    for gone in 0..n {
        set(gone, &Value::Null).unwrap();
    }
    set(n, &text).unwrap();
}

#[test]
fn a_change_that_fails_changes_nothing() {
    for store in [fresh().1, Shared::in_memory()] {
        let done: Result<()> = store.write(|change| {
            change.put(&Key::of(b'v').name(b"x"), &Stored::new(b"x", &Value::Int(1)).encode())?;
            Err(StoreError::Garbled)
        });
        assert_eq!(done, Err(StoreError::Garbled));
        assert_eq!(store.variable(b"x"), Ok(Value::Int(0)));
    }
}
