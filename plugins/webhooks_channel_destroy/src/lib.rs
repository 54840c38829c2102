//! The module for hooks that want to know when a call ends; what it sends is in [`channel_event::channel`].

use channel_event::channel_module::{ChannelModule, ChannelStage};
use plugin_api::serde_json::{Value, json};

/// Hook event `channel_destroy`.
#[derive(Debug)]
pub struct ChannelDestroy;

impl ChannelStage for ChannelDestroy {
    const EVENT_NAME: &'static str = "CHANNEL_DESTROY";
    const NAME: &'static str = "Channel Destroy";
    const DESCRIPTION: &'static str = "A leg of a call ended; says why and how long it rang and lasted";

    fn sample_fields() -> [Value; 2] {
        [
            json!({
                "hangup_cause": "NORMAL_CLEARING", "hangup_code": "sip:200",
                "duration_seconds": 37, "ringing_seconds": 4, "billing_seconds": 33,
            }),
            json!({
                "hangup_cause": "USER_BUSY", "hangup_code": "sip:486",
                "duration_seconds": 3, "ringing_seconds": 0, "billing_seconds": 0,
            }),
        ]
    }
}

plugin_api::export_module!(ChannelModule<ChannelDestroy>);

#[cfg(test)]
mod tests {
    use plugin_api::Binding;
    use plugin_api::testing::TestHost;

    use super::*;

    #[test]
    fn it_answers_the_events_that_it_binds() {
        let module = TestHost::new().load::<ChannelModule<ChannelDestroy>>().unwrap();
        let bound = module.bindings_and_responders();
        assert_eq!(bound.bindings, [Binding::new("callevt", "call.CHANNEL_DESTROY.*")]);
        assert_eq!(bound.responders[0].category, "call_event");
        assert_eq!(bound.responders[0].name, "CHANNEL_DESTROY");
        assert_eq!(module.metadata().name, "Channel Destroy");
    }

    #[test]
    fn it_tells_the_hooks_of_the_calls_account() {
        let module = TestHost::new().load::<ChannelModule<ChannelDestroy>>().unwrap();
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
        let module = TestHost::new().load::<ChannelModule<ChannelDestroy>>().unwrap();
        for sample in &module.metadata().samples {
            assert_eq!(sample["hook_event"], "channel_destroy");
            assert!(sample["timestamp"].is_u64());
        }
        assert!(module.metadata().samples.len() > 1);
    }
}
