//! The module for hooks that want to know when two legs of a call are connected; what it sends is in [`channel_event::channel`].

use channel_event::channel_module::{ChannelModule, ChannelStage};
use plugin_api::serde_json::{Value, json};

/// Hook event `channel_bridge`.
#[derive(Debug)]
pub struct ChannelBridge;

impl ChannelStage for ChannelBridge {
    const EVENT_NAME: &'static str = "CHANNEL_BRIDGE";
    const NAME: &'static str = "Channel Bridge";
    const DESCRIPTION: &'static str =
        "A leg of a call was connected to another one, so two parties hear each other";

    fn sample_fields() -> [Value; 2] {
        [
            json!({"other_leg_destination_number": "1002"}),
            json!({"original_number": "+15552223333", "other_leg_destination_number": "+15552223333"}),
        ]
    }
}

plugin_api::export_module!(ChannelModule<ChannelBridge>);

#[cfg(test)]
mod tests {
    use plugin_api::Binding;
    use plugin_api::testing::TestHost;

    use super::*;

    #[test]
    fn it_answers_the_events_that_it_binds() {
        let module = TestHost::new().load::<ChannelModule<ChannelBridge>>().unwrap();
        let bound = module.bindings_and_responders();
        assert_eq!(bound.bindings, [Binding::new("callevt", "call.CHANNEL_BRIDGE.*")]);
        assert_eq!(bound.responders[0].category, "call_event");
        assert_eq!(bound.responders[0].name, "CHANNEL_BRIDGE");
        assert_eq!(module.metadata().name, "Channel Bridge");
    }

    #[test]
    fn it_tells_the_hooks_of_the_calls_account() {
        let module = TestHost::new().load::<ChannelModule<ChannelBridge>>().unwrap();
        let event = json!({
            "Event-Category": "call_event", "Event-Name": "CHANNEL_BRIDGE", "Call-ID": "call-1",
            "Custom-Channel-Vars": {"Account-ID": "acct1"}, "Other-Leg-Destination-Number": "1002",
        });
        let fired = module.handle(&event).unwrap();
        assert_eq!(fired.len(), 1);
        assert_eq!(fired[0].hook_event, "channel_bridge");
        assert_eq!(fired[0].account, "acct1");
        assert_eq!(fired[0].payload["call_id"], "call-1");
        assert_eq!(fired[0].payload["hook_event"], "channel_bridge");
        assert_eq!(fired[0].payload["other_leg_destination_number"], "1002");
    }

    #[test]
    fn its_samples_are_what_it_sends_in_profile_standard() {
        let module = TestHost::new().load::<ChannelModule<ChannelBridge>>().unwrap();
        for sample in &module.metadata().samples {
            assert_eq!(sample["hook_event"], "channel_bridge");
            assert!(sample["timestamp"].is_u64());
        }
        assert!(module.metadata().samples.len() > 1);
    }
}
