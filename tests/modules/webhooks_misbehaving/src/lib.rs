//! Does what the event's field `Do` tells it to: everything that a module should not.

// Misbehaving is its purpose.
#![allow(clippy::panic)]

use plugin_api::{
    Binding, BindingsAndResponders, Error, Event, Firing, Host, JsonWriter, Level, Metadata, Module,
};

struct Misbehaving;

impl Module for Misbehaving {
    fn init(_host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((Misbehaving, Metadata::new("Misbehaving", "Does what it should not, on request")))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new().binding(Binding::new("tests", "misbehave.#")).responder("misbehave", "*")
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let account = event.required_str("Account-ID")?;
        let payload = JsonWriter::object().copy("said", event.get("Say")).finish();
        match event.required_str("Do")? {
            "fire" => host.fire(&Firing::new("misbehaving", account), &payload),
            "panic" => panic!("told to panic"),
            "panic again when dropped" => std::panic::panic_any(Bomb),
            "hang" => hang(),
            "fail" => return Err(Error::msg("told to fail")),
            "fire and fail" => {
                host.fire(&Firing::new("misbehaving", account), &payload);
                return Err(Error::msg("told to fail"));
            }
            "fire what is not json" => {
                let payload = JsonWriter::object().raw("said", "nonsense").finish();
                host.fire(&Firing::new("misbehaving", account), &payload);
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
            "speak" => host.log(Level::Warn, "told to speak"),
            other => return Err(Error::msg(format!("Do should name a misdeed and is {other:?}"))),
        }
        Ok(())
    }
}

fn hang() {
    loop {
        std::thread::park();
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("told to panic once more");
    }
}

plugin_api::export_module!(Misbehaving);
