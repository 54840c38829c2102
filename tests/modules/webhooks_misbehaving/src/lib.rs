//! Does what the event's field `Do` tells it to: everything that a module should not.

// Misbehaving is its purpose.
#![allow(clippy::panic)]

mod crashes;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use plugin_api::{
    Binding, BindingsAndResponders, Error, Event, Firing, Host, JsonWriter, Level, Metadata, Module,
};

struct Misbehaving {
    /// Calls so far: starts anew with every process and generation.
    calls: AtomicU64,
}

impl Module for Misbehaving {
    fn init(_host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((
            Misbehaving { calls: AtomicU64::new(0) },
            Metadata::new("Misbehaving", "Does what it should not, on request"),
        ))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new().binding(Binding::new("tests", "misbehave.#")).responder("misbehave", "*")
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let account = event.required_str("Account-ID")?;
        let payload = JsonWriter::object().copy("said", event.get("Say")).finish();
        match event.required_str("Do")? {
            "fire" => host.fire(&Firing::new("misbehaving", account), &payload),
            "panic" => panic!("told to panic"),
            "panic again when dropped" => std::panic::panic_any(Bomb),
            "hang" => hang(),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "deadlock" => deadlock(),
            "dawdle" => {
                // A wake-up without a reason is borne: some calls are then shorter.
                std::thread::park_timeout(std::time::Duration::from_millis(150));
                host.fire(&Firing::new("misbehaving", account), &payload);
            }
            "fail" => return Err(Error::msg("told to fail")),
            "fire and fail" => {
                host.fire(&Firing::new("misbehaving", account), &payload);
                return Err(Error::msg("told to fail"));
            }
            "fire what is not json" => {
                let payload = JsonWriter::object().raw("said", "nonsense").finish();
                host.fire(&Firing::new("misbehaving", account), &payload);
            }
            "fire what is not text" => {
                let payload = JsonWriter::object().raw("said", crashes::no_text()).finish();
                host.fire(&Firing::new("misbehaving", account), &payload);
            }
            "fire for another account" => {
                host.fire(&Firing::new("misbehaving", account), &payload);
                host.fire(&Firing::new("misbehaving", event.required_str("Other")?), &payload);
            }
            "fire without a name" => host.fire(&Firing::new("", account), &payload),
            "fire 100 MB" => {
                let payload = JsonWriter::object().str("said", &"x".repeat(100_000_000)).finish();
                host.fire(&Firing::new("misbehaving", account), &payload);
            }
            "fire without end" => {
                for _ in 0..5000 {
                    host.fire(&Firing::new("misbehaving", account), &payload);
                }
            }
            "fire 70 MB in parts" => {
                let payload = JsonWriter::object().str("said", &"x".repeat(7_000_000)).finish();
                for _ in 0..10 {
                    host.fire(&Firing::new("misbehaving", account), &payload);
                }
            }
            "speak" => host.log(Level::Warn, "told to speak"),
            "write 10 MB" => (0..100_000).for_each(|_| write(&"x".repeat(99))),
            "count" => fire(host, account, JsonWriter::object().i64("call", call.try_into()?)),
            "ask for the reseller" => {
                let json = JsonWriter::object().opt_str("reseller", host.reseller_of(account));
                fire(host, account, json.copy("said", event.get("Say")));
            }
            "look around" => fire(host, account, around()),
            "start a sleeper" => {
                let sleeper = std::process::Command::new("sleep").arg("1000").spawn()?;
                fire(host, account, JsonWriter::object().i64("pid", sleeper.id().into()));
            }
            "abort once" => {
                let mark = Path::new(event.required_str("Mark")?);
                if !mark.exists() {
                    std::fs::write(mark, "")?;
                    std::process::abort();
                }
                host.fire(&Firing::new("misbehaving", account), &payload);
            }
            "abort" => {
                write("about to abort");
                std::process::abort();
            }
            "exit" => std::process::exit(7),
            "segfault" => crashes::segfault(),
            "stack overflow" => crashes::stack_overflow(),
            "kill itself" => crashes::kill_itself(),
            "write over the line" => crashes::write_over_the_line(),
            other => return Err(Error::msg(format!("Do should name a misdeed and is {other:?}"))),
        }
        Ok(())
    }
}

fn fire(host: &Host<'_>, account: &str, json: JsonWriter) {
    host.fire(&Firing::new("misbehaving", account), &json.finish());
}

/// Where a process's complaints go.
fn write(line: &str) {
    use std::io::Write as _;
    // Nobody listens when standard error is closed.
    _ = writeln!(std::io::stderr(), "{line}");
}

/// What its process has of whoever started it.
fn around() -> JsonWriter {
    let names: Vec<String> = std::env::vars_os().map(|(name, _)| format!("{name:?}")).collect();
    let open = std::fs::read_dir("/dev/fd").map_or(0, Iterator::count);
    let open = i64::try_from(open).unwrap_or(i64::MAX);
    JsonWriter::object().raw("environment", &format!("[{}]", names.join(","))).i64("descriptors", open)
}

fn hang() {
    loop {
        std::thread::park();
    }
}

/// Waits for what only its own thread could do.
fn deadlock() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    _ = receiver.recv();
    drop(sender);
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("told to panic once more");
    }
}

plugin_api::export_module!(Misbehaving);
