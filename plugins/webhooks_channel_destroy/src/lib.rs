//! The module for hooks that want to know when a call ends; what it sends is in [`channel_event::channel`].

use channel_event::channel::Channel;
use plugin_api::serde_json::json;
use plugin_api::{Binding, BindingsAndResponders, Error, Event, Host, Metadata, Module};

/// Hook event `channel_destroy`.
#[derive(Debug)]
pub struct ChannelDestroy(Channel);

impl Module for ChannelDestroy {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((ChannelDestroy(Channel::new(host)?), metadata()))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new()
            .binding(Binding::call("CHANNEL_DESTROY"))
            .responder("call_event", "CHANNEL_DESTROY")
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        self.0.handle_event(event, host)
    }
}

fn metadata() -> Metadata {
    Metadata::new("Channel Destroy", "A leg of a call ended; says why and how long it rang and lasted")
        .sample(json!({
            "account_id": "91eb05e5c68d7ca05e7618b6821d2d16",
            "authorizing_id": "7f2b66a6c09d4be0a2e1f5a3c4d8b916", "authorizing_type": "device",
            "call_direction": "inbound", "call_id": "3c1f-77a0@10.8.0.4",
            "caller_id_name": "Ada Park", "caller_id_number": "1001",
            "callee_id_number": "1002", "custom_channel_vars": {"Bridge-ID": "3c1f-77a0@10.8.0.4"},
            "emergency_resource_used": false, "from": "ada@office.example.com",
            "local_resource_used": false, "is_internal_leg": false, "owner_id": "c4a81be0",
            "request": "1002@office.example.com",
            "reseller_id": "026f7e0cb1a84d2c9a51c3f0b6a1d7e4",
            "timestamp": 63_871_286_400_u64, "to": "1002@office.example.com", "hook_event": "channel_destroy",
            "hangup_cause": "NORMAL_CLEARING", "hangup_code": "sip:200",
            "duration_seconds": 37, "ringing_seconds": 4, "billing_seconds": 33,
        }))
        .sample(json!({
            "account_id": "91eb05e5c68d7ca05e7618b6821d2d16",
            "authorizing_type": "resource", "call_direction": "outbound", "call_forwarded": false,
            "call_id": "b2d9-5e44@10.8.0.4", "caller_id_name": "Ada Park", "caller_id_number": "+15550001111",
            "callee_id_number": "+15552223333", "custom_application_vars": {"ticket": "4711"},
            "emergency_resource_used": false, "from": "+15550001111@office.example.com",
            "inception": "+15550001111@office.example.com", "local_resource_id": "carrier-1",
            "local_resource_used": true, "is_internal_leg": false, "other_leg_call_id": "3c1f-77a0@10.8.0.4",
            "request": "+15552223333@carrier.example.net",
            "reseller_id": "026f7e0cb1a84d2c9a51c3f0b6a1d7e4",
            "timestamp": 63_871_286_407_u64, "to": "+15552223333@carrier.example.net", "hook_event": "channel_destroy",
            "hangup_cause": "USER_BUSY", "hangup_code": "sip:486",
            "duration_seconds": 3, "ringing_seconds": 0, "billing_seconds": 0,
        }))
}

plugin_api::export_module!(ChannelDestroy);

#[cfg(test)]
mod tests {
    use plugin_api::testing::TestHost;

    use super::*;

    #[test]
    fn it_answers_the_events_that_it_binds() {
        let module = TestHost::new().load::<ChannelDestroy>().unwrap();
        let bound = module.bindings_and_responders();
        assert_eq!(bound.bindings, [Binding::new("callevt", "call.CHANNEL_DESTROY.*")]);
        assert_eq!(bound.responders[0].category, "call_event");
        assert_eq!(bound.responders[0].name, "CHANNEL_DESTROY");
        assert_eq!(module.metadata().name, "Channel Destroy");
    }

    #[test]
    fn it_tells_the_hooks_of_the_calls_account() {
        let module = TestHost::new().load::<ChannelDestroy>().unwrap();
        let event = json!({
            "Event-Category": "call_event", "Event-Name": "CHANNEL_DESTROY", "Call-ID": "call-1",
            "Custom-Channel-Vars": {"Account-ID": "acct1"}, "Duration-Seconds": "37",
        });
        let fired = module.handle(&event).unwrap();
        assert_eq!(fired.len(), 1);
        assert_eq!(fired[0].hook_event, "channel_destroy");
        assert_eq!(fired[0].account, "acct1");
        assert_eq!(fired[0].payload["call_id"], "call-1");
        assert_eq!(fired[0].payload["hook_event"], "channel_destroy");
        assert_eq!(fired[0].payload["duration_seconds"], 37);
    }

    #[test]
    fn its_samples_are_what_it_sends_in_profile_standard() {
        let module = TestHost::new().load::<ChannelDestroy>().unwrap();
        for sample in &module.metadata().samples {
            assert_eq!(sample["hook_event"], "channel_destroy");
            assert!(sample["timestamp"].is_u64());
        }
        assert!(module.metadata().samples.len() > 1);
    }
}
