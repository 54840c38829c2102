//! A module's process from the inside: how it loads the module and serves it.
//!
//! It is single-minded: no runtime, the module on the main thread, one more thread that waits for the host's
//! death, and one that notices when the process was stopped. It never ends by itself in order, as destructors of a
//! stranger's library have nothing to do here: the host kills it, or it kills itself.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::Write as _;
use std::process::ExitCode;

use bytes::Bytes;
use plugin_api::Level;
use plugin_api::lend::{CallError, Fired, HostServices};

use super::protocol::{FromChild, MAX_TEXT, VERSION};
use crate::clock;
use crate::event::Event;
use crate::module::library::{LibraryCall, LoadStep, ModuleEntry, enter};
use crate::module::services::{CallAnswer, MAX_PAYLOAD};

mod host_line;
mod taking_off;

use host_line::{ChildHello, HostLine, HostOrder, die};
use taking_off::take_off;

/// The whole life of a module's process; only returns to say that it is none.
pub fn run() -> ExitCode {
    match take_off() {
        Ok((socket, lifeline)) => match HostLine::new(socket, lifeline) {
            Ok(line) => serve(line),
            Err(error) => no_use(&error),
        },
        Err(error) => no_use(&error),
    }
}

fn no_use(error: &std::io::Error) -> ExitCode {
    // Nothing is left to tell when standard error is closed too.
    _ = writeln!(std::io::stderr(), "hookline: module-child is a part of the host, not a command: {error}");
    ExitCode::FAILURE
}

fn serve(line: HostLine) -> ! {
    let line = RefCell::new(line);
    line.borrow().say(&FromChild::Speaks(VERSION));
    let HostOrder::Load(hello) = HostLine::order(&line) else { die() };
    let services = ChildServices::new(&line, &hello.settings);
    if let Some(entry) = load(&hello, &services) {
        loop {
            match HostLine::order(&line) {
                HostOrder::Handle(text) => {
                    services.answered.take();
                    line.borrow().begin();
                    let ended = handle(entry, text, &services);
                    line.borrow().end(ended);
                }
                HostOrder::End => {
                    if let Err(error) = entry.shutdown(&services) {
                        services.log(Level::Warn, &format!("shutdown {error}"));
                    }
                    line.borrow().say(&FromChild::Bye);
                    break;
                }
                HostOrder::Load(_) => die(),
            }
        }
    }
    // What was said last is read before the host closes its end; then the other thread ends us.
    loop {
        std::thread::park();
    }
}

fn load(hello: &ChildHello, services: &ChildServices<'_>) -> Option<ModuleEntry> {
    show_as(&hello.module, hello.generation);
    let say = |word: FromChild<'_>| services.line.borrow().say(&word);
    let entered = enter(&hello.copy, services, &|step: LoadStep| say(FromChild::Now(step)));
    let LibraryCall { entry, metadata, wants, mapped: _mapped } = match entered {
        Ok(entered) => entered,
        Err(error) => {
            say(FromChild::Refused(error.to_string().into()));
            return None;
        }
    };
    let written =
        serde_json::to_string(&metadata).and_then(|metadata| Ok((metadata, serde_json::to_string(&wants)?)));
    match written {
        Ok((metadata, wants)) if metadata.len() + wants.len() <= MAX_PAYLOAD => {
            say(FromChild::Loaded { metadata: metadata.into(), wants: wants.into() });
            Some(entry)
        }
        Ok((metadata, wants)) => {
            let size = metadata.len() + wants.len();
            let text = format!("describes itself in {size} bytes; the limit is {MAX_PAYLOAD}");
            say(FromChild::Refused(text.into()));
            None
        }
        Err(error) => {
            say(FromChild::Refused(format!("describes itself in what is not JSON: {error}").into()));
            None
        }
    }
}

fn handle(entry: ModuleEntry, text: Bytes, services: &ChildServices<'_>) -> Result<(), CallError> {
    // The host has parsed it already; this cannot fail where both are the same program.
    let event = Event::parse(text).map_err(|error| CallError::Protocol(format!("the event {error}")))?;
    entry.handle(&event, services)
}

/// The name of the main thread, which is what `ps` and `top` show.
fn show_as(module: &str, generation: u64) {
    let hook = module.strip_prefix("webhooks_").unwrap_or(module);
    if let Ok(name) = CString::new(format!("{hook}.g{generation}")) {
        #[cfg(target_os = "linux")]
        {
            // Without it the process has the name of its file.
            _ = nix::sys::prctl::set_name(&name);
        }
        _ = name;
    }
}

/// The host's services as far as they reach into this process; the rest is asked for.
struct ChildServices<'l> {
    line: &'l RefCell<HostLine>,
    settings: &'l BTreeMap<String, String>,
    answered: Cell<CallAnswer>,
}

impl<'l> ChildServices<'l> {
    fn new(line: &'l RefCell<HostLine>, settings: &'l BTreeMap<String, String>) -> Self {
        ChildServices { line, settings, answered: Cell::default() }
    }
}

impl HostServices for ChildServices<'_> {
    /// Sent at once: they may be the last words.
    fn log(&self, level: Level, text: &str) {
        self.line.borrow().say(&FromChild::Log(level, text.into()));
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(clock::now_ms()).unwrap_or_default()
    }

    fn setting(&self, name: &str) -> Option<Cow<'_, str>> {
        self.settings.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }

    fn reseller_of(&self, account: &str) -> Option<String> {
        // No account has an id that long, and half an id could be another's.
        let short = account.len() <= MAX_TEXT;
        short.then(|| self.line.borrow_mut().reseller_of(account)).flatten()
    }

    fn fire(&self, fired: Fired<'_>) -> Result<(), String> {
        let mut answered = self.answered.get();
        answered.count(&fired)?;
        self.answered.set(answered);
        self.line.borrow().put(&FromChild::Fired(fired));
        Ok(())
    }
}
