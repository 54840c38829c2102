//! The whole promise: a module that panics, hangs and kills its process is replaced under load by a good one, and after
//! the replay every hook has got every event exactly once.

use super::*;

/// Events before the file is replaced, and together.
const BEFORE: u64 = 45;
const EVENTS: u64 = 90;

/// How events come.
enum EventSource {
    Api,
    Broker(Broker),
}

async fn send(source: &EventSource, program: &Program, event: &Value) {
    match source {
        EventSource::Api => {
            let answer = program.ask("POST", "/events", Some(event.clone())).await;
            assert_eq!(answer.status, 202, "{}", answer.json);
        }
        EventSource::Broker(broker) => broker.publish("tests", "flawed.now", event, Published::Plain).await,
    }
}

async fn module(program: &Program) -> Value {
    program.ask("GET", &format!("/modules/{ID}"), None).await.json["data"].clone()
}

async fn replay(program: &Program) -> Value {
    let begun = program.ask("POST", &format!("/modules/{ID}/replay"), None).await;
    assert_eq!(begun.status, 202, "{}", begun.json);
    begun.json["data"].clone()
}

async fn job_with(program: &Program, id: &Value, fact: fn(&Value) -> bool) -> Value {
    let path = format!("/modules/{ID}/replays/{id}");
    let found = || async {
        let job = program.ask("GET", &path, None).await.json["data"].clone();
        fact(&job).then_some(job)
    };
    eventually("the replay is as expected", found).await
}

/// The `webhook-id`s of what a path got, by event.
fn ids(requests: &[Request], path: &str) -> BTreeMap<u64, BTreeSet<String>> {
    let mut found: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.path == path) {
        let n = request.json()["n"].as_str().unwrap().parse().unwrap();
        found.entry(n).or_default().insert(request.header("webhook-id").to_owned());
    }
    found
}

async fn every_hook_gets_every_event_once(source: EventSource, isolated: bool, kill: bool) {
    let mut receiver = Receiver::answering(200).await;
    let isolation = if isolated { "isolation = \"process\"\n" } else { "" };
    let mut settings = format!("{FAST}{isolation}");
    if let EventSource::Broker(broker) = &source {
        settings.push_str(&broker.settings(&Broker::queue_of_its_own()));
    }
    let home = Home::new(&settings, &[]);
    std::fs::write(home.path("plugins").join(FILE), flawed(1)).unwrap();
    let mut program = home.start().await;
    program.ready(true).await;
    let account = program.account("acme").await;
    program.hook(&account, "flawed", &receiver.url("/flawed"), json!({})).await;
    program.hook(&account, "all", &receiver.url("/all"), json!({})).await;
    // Here an abort would end the host.
    let fails = if isolated { "panic hang abort" } else { "panic hang" };

    for n in 1..=BEFORE {
        send(&source, &program, &event(&account, n, fails)).await;
    }
    let waits = || async { (module(&program).await["calls"] == BEFORE).then_some(()) };
    eventually("the module was asked about all of them", waits).await;
    let mended = flawed(2);
    let file = program.folder().join("plugins");
    std::fs::write(file.join(".new"), &mended).unwrap();
    std::fs::rename(file.join(".new"), file.join(FILE)).unwrap();
    for n in BEFORE + 1..=EVENTS {
        send(&source, &program, &event(&account, n, fails)).await;
    }
    let served = || async { (module(&program).await["generation"] == 2).then_some(()) };
    eventually("the mended module serves", served).await;
    let asked = || async { (module(&program).await["calls"] == EVENTS).then_some(()) };
    eventually("the modules were asked about all of them", asked).await;

    let job = replay(&program).await;
    assert!(job["total"].as_u64().unwrap() >= BEFORE / 3, "{job:#}");
    if kill {
        job_with(&program, &job["id"], |job| job["handled"] != 0).await;
        program = program.killed().await.start().await;
        program.ready(true).await;
    }
    let job = job_with(&program, &job["id"], |job| job["state"] != "running").await;
    assert_eq!((&job["state"], &job["failed"]), (&json!("done"), &json!(0)), "{job:#}");
    // The file may have been loaded while an event of the old generation was still failing.
    let rest = replay(&program).await;
    job_with(&program, &rest["id"], |job| job["state"] == "done").await;
    program.owes_nothing().await;

    let requests = receiver.waiting();
    let flawed = ids(&requests, "/flawed");
    assert_eq!(flawed.len() as u64, EVENTS, "each event: {:?}", flawed.keys());
    assert!(flawed.values().all(|ids| ids.len() == 1), "one delivery of each: {flawed:#?}");
    let all = ids(&requests, "/all");
    assert_eq!(all.len() as u64, EVENTS);
    // The first version fires twice, the mended one three times.
    assert!(all.values().all(|ids| ids.len() == 2 || ids.len() == 3), "{all:#?}");
    if !kill {
        let sent = requests.len();
        let told: BTreeSet<&str> = requests.iter().map(|request| request.header("webhook-id")).collect();
        assert_eq!(told.len(), sent, "nothing is sent twice");
    }
    let left = program.ask("GET", &format!("/modules/{ID}/failed"), None).await.json;
    assert_eq!(left["data"], json!([]));
    // Whatever comes again is known.
    let calls = module(&program).await["calls"].as_u64().unwrap();
    for n in [3, 5, 7, EVENTS] {
        send(&source, &program, &event(&account, n, fails)).await;
    }
    let asked = || async { (module(&program).await["calls"] == calls + 4).then_some(()) };
    eventually("they came again", asked).await;
    program.owes_nothing().await;
    assert!(receiver.waiting().is_empty(), "every hook got each of them already");
    program.signalled("TERM").await;
}

#[tokio::test]
async fn posted_events_in_the_hosts_process() {
    every_hook_gets_every_event_once(EventSource::Api, false, false).await;
}

#[tokio::test]
async fn posted_events_in_a_process_of_the_modules_own() {
    every_hook_gets_every_event_once(EventSource::Api, true, false).await;
}

#[tokio::test]
async fn posted_events_while_the_host_is_killed() {
    every_hook_gets_every_event_once(EventSource::Api, false, true).await;
}

/// One after the other, as each host binds what the others do.
#[tokio::test]
async fn events_of_the_broker() {
    for (isolated, kill) in [(false, false), (true, false), (true, true)] {
        every_hook_gets_every_event_once(EventSource::Broker(Broker::shared()), isolated, kill).await;
    }
}
