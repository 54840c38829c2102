//! The module for hooks that want to know when a call is answered; what it sends is in [`channel_event::channel`].

use channel_event::channel_module::{ChannelModule, ChannelStage};
use plugin_api::serde_json::{Value, json};

/// Hook event `channel_answer`.
#[derive(Debug)]
pub struct ChannelAnswer;

impl ChannelStage for ChannelAnswer {
    const EVENT_NAME: &'static str = "CHANNEL_ANSWER";
    const NAME: &'static str = "Channel Answer";
    const DESCRIPTION: &'static str = "A leg of a call was answered and can be talked on";

    fn sample_fields() -> [Value; 2] {
        [json!({}), json!({})]
    }
}

plugin_api::export_module!(ChannelModule<ChannelAnswer>);

#[cfg(test)]
mod tests {
    use plugin_api::Binding;
    use plugin_api::testing::TestHost;

    use super::*;

    #[test]
    fn it_answers_the_events_that_it_binds() {
        let module = TestHost::new().load::<ChannelModule<ChannelAnswer>>().unwrap();
        let bound = module.bindings_and_responders();
        assert_eq!(bound.bindings, [Binding::new("callevt", "call.CHANNEL_ANSWER.*")]);
        assert_eq!(bound.responders[0].category, "call_event");
        assert_eq!(bound.responders[0].name, "CHANNEL_ANSWER");
        assert_eq!(module.metadata().name, "Channel Answer");
    }

    #[test]
    fn it_tells_the_hooks_of_the_calls_account() {
        let module = TestHost::new().load::<ChannelModule<ChannelAnswer>>().unwrap();
        let event = json!({
            "Event-Category": "call_event", "Event-Name": "CHANNEL_ANSWER", "Call-ID": "call-1",
            "Custom-Channel-Vars": {"Account-ID": "acct1"},
        });
        let fired = module.handle(&event).unwrap();
        assert_eq!(fired.len(), 1);
        assert_eq!(fired[0].hook_event, "channel_answer");
        assert_eq!(fired[0].account, "acct1");
        assert_eq!(fired[0].payload["call_id"], "call-1");
        assert_eq!(fired[0].payload["hook_event"], "channel_answer");
    }

    #[test]
    fn its_samples_are_what_it_sends_in_profile_standard() {
        let module = TestHost::new().load::<ChannelModule<ChannelAnswer>>().unwrap();
        for sample in &module.metadata().samples {
            assert_eq!(sample["hook_event"], "channel_answer");
            assert!(sample["timestamp"].is_u64());
        }
        assert!(module.metadata().samples.len() > 1);
    }
}
