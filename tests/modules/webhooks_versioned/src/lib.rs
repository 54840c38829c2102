//! Says which version it is, by bytes that a test can change in its file, and takes from the process what
//! ordinary modules take: thread-local values, a thread of its own.

// Failing is part of its purpose.
#![allow(clippy::panic)]

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::mpsc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use plugin_api::{Binding, BindingsAndResponders, Error, Event, Firing, Host, JsonWriter, Metadata, Module};

/// A test writes other digits over these.
static VERSION: [u8; 23] = *b"hookline-version-000001";

struct Versioned {
    version: String,
    /// A thread of the module's own, which ends when its sender is dropped.
    helper: Mutex<Option<(mpsc::Sender<()>, JoinHandle<()>)>>,
}

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Module for Versioned {
    fn init(_: &Host<'_>) -> Result<(Self, Metadata), Error> {
        let version = String::from_utf8_lossy(black_box(&VERSION)).into_owned();
        let (sender, receiver) = mpsc::channel::<()>();
        let handle = std::thread::Builder::new().name("helper".to_owned()).spawn(move || {
            // What it needs of its thread leaves a key with the process.
            black_box(std::thread::current().id());
            _ = receiver.recv();
        })?;
        let metadata = Metadata::new("Versioned", format!("Says that it is {version}"));
        Ok((Versioned { version, helper: Mutex::new(Some((sender, handle))) }, metadata))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new()
            .binding(Binding::new("tests", "versioned.all"))
            .binding(Binding::new("tests", format!("versioned.{}", self.version)))
            .responder("versioned", "*")
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let account = event.required_str("Account-ID")?;
        black_box(std::thread::current().id());
        SEEN.with_borrow_mut(|seen| {
            seen.clear();
            seen.push(account.to_owned());
        });
        match event.str("Do") {
            Some("leave a thread") => {
                std::thread::spawn(std::thread::park);
            }
            Some("panic in odd versions") if self.version.ends_with(['1', '3', '5', '7', '9']) => {
                panic!("{} is odd", self.version);
            }
            Some("hang") => loop {
                std::thread::park();
            },
            Some("take a while") => {
                let (_never, nothing) = mpsc::channel::<()>();
                _ = nothing
                    .recv_timeout(std::time::Duration::from_millis(event.required_str("Ms")?.parse()?));
            }
            _ => {}
        }
        let payload = JsonWriter::object().str("version", &self.version).copy("n", event.get("N")).finish();
        host.fire(&Firing::new("versioned", account), &payload);
        Ok(())
    }

    fn shutdown(&self) {
        let helper = self.helper.lock().take();
        if let Some((sender, handle)) = helper {
            drop(sender);
            // It has nothing that could panic.
            _ = handle.join();
        }
    }
}

plugin_api::export_module!(Versioned);
