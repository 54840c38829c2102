//! The routes as clients meet them: no socket, a real store, simple modules and intake.

use std::collections::BTreeMap;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;
use crate::access::Access;
use crate::access::log_ins::LogIns;
use crate::access::token::{Token, first_token};
use crate::delivery::due::DueRules;
use crate::delivery::queue::DeliveryQueue;
use crate::delivery::scheduler::SchedulerLimits;
use crate::delivery::shards::DueShards;
use crate::delivery::test_send::NotTested;
use crate::disabler::Disabler;
use crate::event::identity::CloudEventId;
use crate::event::{ArrivingEvent, RawEvent};
use crate::hooks::document::Events;
use crate::hooks::editor::Editor;
use crate::hooks::editor::tests::{NamesOnly, Shelf, vault};
use crate::listener::failed_events::{FailedEventKeeping, FailedEventRules};
use crate::listener::replaying::ModuleReplays;
use crate::listener::shared::{ListenerCounters, SharedListener};
use crate::memory::EventMemory;
use crate::model::payload::Payload;
use crate::model::{Document, HookId};
use crate::module::reload::NotReloaded;
use crate::module::reload::resetting::{MetadataReset, NotReset};
use crate::replays::Replays;
use crate::store::FailedEventLimits;
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{AuditKeep, StoreError};
use crate::trail::Origin;

mod access;
mod accounts;
mod events;
mod framework;
mod webhooks;

/// An event's text, and the exchange and routing key that it was sent to.
type Taken = (String, Option<(String, String)>);

/// Takes events into a list, or answers what a test wants.
#[derive(Default)]
pub(super) struct Basket {
    taken: Mutex<Vec<Taken>>,
    /// The names that they have as CloudEvents.
    named: Mutex<Vec<Option<CloudEventId>>>,
    refuses: Mutex<Option<IntakeError>>,
}

#[async_trait]
impl EventIntake for Basket {
    async fn take(
        &self,
        events: Vec<ArrivingEvent>,
        route: Option<(String, String)>,
        _: Origin,
    ) -> Result<usize, IntakeError> {
        if let Some(refusal) = self.refuses.lock().clone() {
            return Err(refusal);
        }
        let events: Vec<RawEvent> = events.into_iter().map(ArrivingEvent::into_raw).collect();
        let text = |event: &RawEvent| (String::from_utf8(event.body.to_vec()).unwrap(), route.clone());
        self.taken.lock().extend(events.iter().map(text));
        self.named.lock().extend(events.iter().map(|event| event.cloud_event.clone()));
        Ok(events.len())
    }
}

struct Nine;

fn sms(generation: u64) -> ModuleShape {
    ModuleShape { id: "webhooks_sms".to_owned(), generation, ..ModuleShape::default() }
}

#[async_trait]
impl ModulesView for Nine {
    fn list(&self) -> LoadedModules {
        let at = "2026-01-01T00:00:00Z".to_owned();
        let refused = RefusedFile { file: "readme.so".into(), reason: "not a library".to_owned(), at };
        LoadedModules { modules: vec![sms(1)], refused: vec![refused], ..LoadedModules::default() }
    }

    fn show(&self, id: &str) -> Option<ModuleShape> {
        assert_ne!(id, "webhooks_panic", "secret detail");
        (id == "webhooks_sms").then(|| sms(1))
    }

    async fn reload(&self, id: &str) -> Result<ModuleShape, NotReloaded> {
        assert_ne!(id, "webhooks_panic", "secret detail");
        match id {
            "webhooks_sms" => Ok(sms(2)),
            "webhooks_mms" => Err(NotReloaded::Refused("libwebhooks_mms.so was cut short".to_owned())),
            _ => Err(NotReloaded::Unknown(id.to_owned())),
        }
    }

    async fn reset_metadata(&self, id: Option<&str>) -> Result<MetadataReset, NotReset> {
        match id {
            None => Ok(MetadataReset { written: vec!["webhooks_sms".to_owned()], removed: Vec::new() }),
            Some("full") => Err(NotReset::Store { id: "webhooks_full".to_owned(), error: StoreError::Full }),
            Some(id) => Err(NotReset::Unknown(id.to_owned())),
        }
    }

    fn samples(&self) -> BTreeMap<String, Vec<Value>> {
        let samples = vec![json!({"event_name": "new_user"}), json!({"event_name": "missed_call"})];
        BTreeMap::from([("webhooks_notifications".to_owned(), samples)])
    }
}

#[async_trait]
impl TestSender for Nine {
    async fn send(&self, hook: &HookId, payload: Payload) -> Result<Document, NotTested> {
        let payload: Value = serde_json::from_slice(payload.json()).unwrap();
        if payload["busy"] == true {
            return Err(NotTested::UnderWay(hook.clone()));
        }
        Ok(object(json!({"hook_id": hook.as_str(), "test": true, "sent": payload})))
    }
}

impl MetadataView for Nine {
    fn metadata(&self) -> Vec<Document> {
        let types = json!({"new_user": {}, "system_alert": {}, "webhook_disabled": {}});
        let docs = [
            json!({"_id": "webhooks_notifications", "_rev": "1-a", "name": "Notifications",
                "modifiers": {"type": {"type": "object", "items": types}}}),
            json!({"_id": "webhooks_skel", "name": "Skel"}),
            json!({"_id": "webhooks_sms", "name": "SMS", "pvt_type": "webhook_meta"}),
        ];
        docs.into_iter().map(object).collect()
    }

    fn events(&self) -> Events {
        let mut events = Events::default();
        let types = json!({"type": {"type": "object", "items": {"new_user": {}}}});
        events.insert("notifications", types.as_object().cloned());
        events.insert("sms", None);
        events
    }

    fn version(&self) -> u64 {
        1
    }
}

#[derive(Default)]
pub(super) struct Pulse(Mutex<Vec<String>>);

impl HostHealth for Pulse {
    fn degraded(&self) -> Vec<DegradedPart> {
        Vec::new()
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        let missing = self.0.lock().clone();
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }
}

#[async_trait]
impl FigureSource for Nine {
    async fn exposition(&self) -> Result<String, std::fmt::Error> {
        Ok("# HELP hookline_ready Ready.\n# TYPE hookline_ready gauge\nhookline_ready 1\n".to_owned())
    }
}

/// A host's API without the rest of the host.
pub(super) struct Host {
    router: Router,
    basket: Arc<Basket>,
    pulse: Arc<Pulse>,
    store: Arc<SqliteStore>,
    token: Token,
    access: Arc<Access>,
    _dir: TempDir,
}

pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

fn host() -> Host {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(SqliteStore::open(dir.path(), Options::default()).unwrap());
    let limits = crate::hooks::editor::tests::limits();
    let editor = Editor::new(store.clone(), Arc::new(Shelf::default()), Arc::new(NamesOnly), vault(), limits);
    let editor = Arc::new(editor);
    let day = Duration::from_secs(86_400);
    let (basket, pulse) = (Arc::new(Basket::default()), Arc::new(Pulse::default()));
    let token = first_token(dir.path()).unwrap();
    let keep = AuditKeep { entries: 1_000, age_ms: 1_000_000 };
    let access =
        Arc::new(Access::holding(Vec::new(), store.clone(), store.clone(), token.hash(), keep, log_ins()));
    let limits = ApiLimits { event_bytes: 1_000, request_bytes: 3_000, ..ApiLimits::default() };
    let settings = crate::config::Config::from_toml("", "no settings").unwrap();
    let disabler = Arc::new(Disabler::new(
        crate::model::Profile::Standard,
        &settings.disabler,
        Arc::default(),
        Arc::default(),
        "n".to_owned(),
    ));
    let rules = DueRules {
        table: Arc::default(),
        accounts: Arc::default(),
        disabler: Arc::clone(&disabler),
        rate: None,
        schedule_ms: Vec::new(),
    };
    let due = Arc::new(DueShards::new(SchedulerLimits::of(&settings.delivery, 16), 1, rules));
    let module_replays = module_replays(&store, &due, &settings);
    let replays = Replays::new(store.clone(), Arc::default(), Arc::clone(&due), day);
    let api = Api {
        memory: Arc::new(EventMemory::unbounded()),
        editor,
        disabler,
        due,
        ledger: store.clone(),
        documents: store.clone(),
        intake: basket.clone(),
        modules: Arc::new(Nine),
        metadata: Arc::new(Nine),
        health: pulse.clone(),
        figures: Arc::new(Nine),
        replays,
        module_replays,
        tests: Arc::new(Nine),
        stream: Arc::default(),
        watchers: watchers(),
        stop: tokio_util::sync::CancellationToken::new(),
        access: access.clone(),
        limits,
        node: "test@host".into(),
        strangers: StrangerLimits::default(),
    };
    Host { router: router(Arc::new(api)), basket, pulse, store, token, access, _dir: dir }
}

/// Of a host without modules.
fn module_replays(
    store: &Arc<SqliteStore>,
    due: &Arc<DueShards>,
    settings: &crate::config::Config,
) -> Arc<ModuleReplays> {
    let queue = DeliveryQueue::new(store.clone(), Arc::clone(due), settings.delivery.profile, "c".into());
    let limits = FailedEventLimits { events: 10, bytes: 10_000 };
    let rules = FailedEventRules { limits, overflow: settings.modules.failed_overflow };
    let listener = SharedListener {
        registry: Arc::default(),
        table: Arc::default(),
        accounts: Arc::default(),
        queue,
        failures: Arc::new(FailedEventKeeping::new(rules)),
        memory: Arc::new(EventMemory::unbounded()),
        counters: ListenerCounters::default(),
    };
    let day = Duration::from_secs(86_400);
    Arc::new(ModuleReplays::new(Arc::new(listener), store.clone(), Arc::default(), day, false))
}

fn log_ins() -> LogIns {
    LogIns::signed_with(&[3; 32])
}

fn object(value: Value) -> Document {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}

impl Host {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn anonymous(&self, method: &str, path: &str) -> Answer {
        self.raw(method, path, &[], Body::empty()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.raw("GET", path, &[("x-auth-token", self.token.reveal())], Body::empty()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.raw("DELETE", path, &[("x-auth-token", self.token.reveal())], Body::empty()).await
    }

    async fn data(&self, method: &str, path: &str, data: Value) -> Answer {
        let headers = [("x-auth-token", self.token.reveal()), ("content-type", "application/json")];
        self.raw(method, path, &headers, json!({"data": data}).to_string()).await
    }

    async fn account(&self) -> String {
        self.data("PUT", "/v2/accounts", json!({"name": "acme"})).await.expect(StatusCode::CREATED).id()
    }
}

impl Answer {
    #[track_caller]
    fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    #[track_caller]
    fn expect_error(self, status: StatusCode, message: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.body["status"], "error");
        assert_eq!(answer.body["error"], status.as_u16().to_string());
        assert_eq!(answer.body["message"], message, "{}", answer.body);
        assert_eq!(answer.body["node"], "test@host");
        assert!(answer.body["request_id"].is_string());
        answer
    }

    fn id(&self) -> String {
        self.body["data"]["id"].as_str().unwrap().to_owned()
    }
}
