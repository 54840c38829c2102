//! Fails on every third, fifth and seventh event until a test writes a later version into its file.

// Failing is its purpose.
#![allow(clippy::panic)]

use std::hint::black_box;

use plugin_api::{
    Binding, BindingsAndResponders, Error, Event, Firing, Host, JsonWriter, Level, Metadata, Module,
};

/// A test writes other digits over these.
static VERSION: [u8; 21] = *b"flawed-version-000001";

struct FlawedModule {
    /// The first version fails, the second on what is beyond repair, later ones never.
    version: u32,
}

impl Module for FlawedModule {
    fn init(_: &Host<'_>) -> Result<(Self, Metadata), Error> {
        let version = String::from_utf8_lossy(black_box(&VERSION)).into_owned();
        let number = version.rsplit('-').next().unwrap_or_default().parse()?;
        Ok((FlawedModule { version: number }, Metadata::new("Flawed", format!("Says that it is {version}"))))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new().binding(Binding::new("tests", "flawed.#")).responder("flawed", "*")
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let account = event.required_str("Account-ID")?;
        let n: u64 = event.required_str("N")?.parse()?;
        let told = event.str("Fails");
        let fails = |misdeed: &str| told.is_none_or(|told| told.contains(misdeed));
        host.log(Level::Info, &format!("looks at event {n}"));
        if self.version == 1 {
            if n.is_multiple_of(3) && fails("panic") {
                panic!("event {n} is a multiple of 3");
            }
            if n.is_multiple_of(5) && fails("hang") {
                hang();
            }
            if n.is_multiple_of(7) && fails("abort") {
                std::process::abort();
            }
        }
        if self.version <= 2 && told.is_some_and(|told| told.contains("always")) {
            return Err(Error::msg("beyond repair"));
        }
        let payload =
            JsonWriter::object().copy("n", event.get("N")).i64("version", self.version.into()).finish();
        // Mended ones fire in another order, and more.
        let mut fired = vec!["flawed", "flawed_too"];
        if self.version > 1 {
            fired.insert(0, "flawed_news");
            fired.reverse();
        }
        fired.iter().for_each(|hook_event| host.fire(&Firing::new(hook_event, account), &payload));
        Ok(())
    }
}

fn hang() {
    loop {
        std::thread::park();
    }
}

plugin_api::export_module!(FlawedModule);
