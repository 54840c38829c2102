//! A channel module as a whole. Three of the four say in a [`ChannelStage`] what they are for, and have the rest from here;
//! `webhooks_channel_create` does all of it by itself, as an example for authors.

use std::fmt;
use std::marker::PhantomData;

use plugin_api::serde_json::{Value as Json, json};
use plugin_api::{Binding, BindingsAndResponders, Error, Event, Host, Metadata, Module};

use crate::channel::{Channel, Stage};

/// What one channel module is for.
pub trait ChannelStage: fmt::Debug + Send + Sync + 'static {
    /// The `Event-Name` that it answers.
    const EVENT_NAME: &'static str;
    /// Its name for people.
    const NAME: &'static str;
    /// What it tells, in a sentence without a full stop.
    const DESCRIPTION: &'static str;

    /// What its samples have after the fields of every channel event: that of the leg that calls, and that of the leg that
    /// is called.
    fn sample_fields() -> [Json; 2];
}

/// The module of a stage.
#[derive(Debug)]
pub struct ChannelModule<S> {
    channel: Channel,
    stage: PhantomData<S>,
}

impl<S: ChannelStage> Module for ChannelModule<S> {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        let [calling, called] = samples::<S>();
        let metadata = Metadata::new(S::NAME, S::DESCRIPTION).sample(calling).sample(called);
        Ok((ChannelModule { channel: Channel::new(host)?, stage: PhantomData }, metadata))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new()
            .binding(Binding::call(S::EVENT_NAME))
            .responder("call_event", S::EVENT_NAME)
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        self.channel.handle_event(event, host)
    }
}

fn samples<S: ChannelStage>() -> [Json; 2] {
    let [calling, called] = S::sample_fields();
    let hook_event = Stage::of(S::EVENT_NAME).map(Stage::hook_event);
    let calling_leg = json!({
        "account_id": "91eb05e5c68d7ca05e7618b6821d2d16",
        "authorizing_id": "7f2b66a6c09d4be0a2e1f5a3c4d8b916", "authorizing_type": "device",
        "call_direction": "inbound", "call_id": "3c1f-77a0@10.8.0.4",
        "caller_id_name": "Ada Park", "caller_id_number": "1001",
        "callee_id_number": "1002", "custom_channel_vars": {"Bridge-ID": "3c1f-77a0@10.8.0.4"},
        "emergency_resource_used": false, "from": "ada@office.example.com",
        "local_resource_used": false, "is_internal_leg": false, "owner_id": "c4a81be0",
        "request": "1002@office.example.com",
        "reseller_id": "026f7e0cb1a84d2c9a51c3f0b6a1d7e4",
        "timestamp": 63_871_286_400_u64, "to": "1002@office.example.com", "hook_event": hook_event,
    });
    let called_leg = json!({
        "account_id": "91eb05e5c68d7ca05e7618b6821d2d16",
        "authorizing_type": "resource", "call_direction": "outbound", "call_forwarded": false,
        "call_id": "b2d9-5e44@10.8.0.4", "caller_id_name": "Ada Park", "caller_id_number": "+15550001111",
        "callee_id_number": "+15552223333", "custom_application_vars": {"ticket": "4711"},
        "emergency_resource_used": false, "from": "+15550001111@office.example.com",
        "inception": "+15550001111@office.example.com", "local_resource_id": "carrier-1",
        "local_resource_used": true, "is_internal_leg": false, "other_leg_call_id": "3c1f-77a0@10.8.0.4",
        "request": "+15552223333@carrier.example.net",
        "reseller_id": "026f7e0cb1a84d2c9a51c3f0b6a1d7e4",
        "timestamp": 63_871_286_407_u64, "to": "+15552223333@carrier.example.net", "hook_event": hook_event,
    });
    [with(calling_leg, calling), with(called_leg, called)]
}

fn with(sample: Json, fields: Json) -> Json {
    let object = |json| match json {
        Json::Object(fields) => fields,
        _ => plugin_api::serde_json::Map::new(),
    };
    let mut sample = object(sample);
    sample.extend(object(fields));
    Json::Object(sample)
}
