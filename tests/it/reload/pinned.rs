//! Modules that are never unmapped, replaced until the memory is used up that they may have.

use tests::{Answer, Home, Program, say};

use super::*;

const STAYS: &str = "webhooks_never_unmapped";

async fn reloaded(program: &Program) -> Answer {
    program.ask("POST", &format!("/modules/{STAYS}/reload"), None).await
}

async fn pinned_use(program: &Program) -> Value {
    program.ask("GET", "/modules", None).await.json["pinned"].clone()
}

/// What one generation is counted with that stays mapped.
async fn cost(program: &Program) -> u64 {
    assert_eq!(reloaded(program).await.status, 200);
    let used = pinned_use(program).await;
    assert_eq!(used["generations"], 1, "{used}");
    used["bytes"].as_u64().unwrap()
}

/// Sees that the module answers.
async fn serves(program: &Program, account: &str, n: u64, receiver: &mut Receiver) {
    let event = json!({"Event-Category": "stay", "Event-Name": "any", "Account-ID": account, "N": n});
    assert_eq!(program.ask("POST", "/events", Some(event)).await.status, 202);
    assert_eq!(receiver.next_request().await.json()["n"], n);
}

async fn program_with_the_first(limit: u64) -> (Program, String, Receiver) {
    let receiver = Receiver::answering(200).await;
    let settings = format!("[modules]\npinned_memory_limit = {limit}\n");
    let program = Home::new(&settings, &[STAYS]).start_logging("error", &[]).await;
    program.ready(true).await;
    let account = program.account("acme").await;
    program.hook(&account, "never_unmapped", &receiver.url("/"), json!({})).await;
    (program, account, receiver)
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> u64 {
    hookline::module::resident::of_process(pid).unwrap()
}

/// Nothing is refused: more generations than the process has thread-local keys, which are given back.
#[tokio::test]
async fn a_module_that_is_never_unmapped_is_replaced_a_thousand_times() {
    let (program, account, mut receiver) = program_with_the_first(1 << 30).await;
    let cost = cost(&program).await;
    let before = resident(program.pid());

    for n in 2..=1000 {
        let answer = reloaded(&program).await;
        assert_eq!(answer.status, 200, "reload {n}: {}", answer.json);
        if n % 100 == 0 {
            serves(&program, &account, n, &mut receiver).await;
        }
    }

    let used = pinned_use(&program).await;
    assert_eq!((&used["generations"], &used["bytes"]), (&json!(1000), &json!(1000 * cost)));
    assert!(used["thread_local_keys"].as_u64().unwrap() < 100, "{used}");
    let grown = resident(program.pid()).saturating_sub(before);
    assert!(grown <= 999 * cost, "{grown} bytes for 999 generations that are counted with {cost} each");
}

#[tokio::test]
async fn what_would_exceed_the_limit_is_refused_and_what_serves_goes_on() {
    let (program, ..) = program_with_the_first(1 << 30).await;
    let cost = cost(&program).await;
    drop(program);
    let limit = 20 * cost;
    let (program, account, mut receiver) = program_with_the_first(limit).await;
    for n in 1..=20 {
        let answer = reloaded(&program).await;
        assert_eq!(answer.status, 200, "reload {n}: {}", answer.json);
    }

    let refused = reloaded(&program).await;

    assert_eq!((refused.status.as_u16(), &refused.json["message"]), (422, &json!("module_refused")));
    let reason = refused.json["data"]["message"].as_str().unwrap();
    let says = format!(
        "20 earlier generations stay mapped with {limit} bytes, and the one that serves would add {cost}"
    );
    assert!(reason.contains(&says), "{reason}");
    assert!(reason.contains(&format!("modules.pinned_memory_limit is {limit}")), "{reason}");
    serves(&program, &account, 1, &mut receiver).await;
    let used = pinned_use(&program).await;
    assert_eq!((&used["bytes"], &used["limit_bytes"]), (&json!(limit), &json!(limit)));
    let module = program.ask("GET", &format!("/modules/{STAYS}"), None).await.json["data"].clone();
    assert_eq!((&module["generation"], module["pinned"].as_array().map(Vec::len)), (&json!(21), Some(20)));
    assert_eq!(module["pinned"][19]["bytes"], cost);

    // Another module takes nothing for good.
    let file = cdylib("webhooks_skel");
    let plugins = program.folder().join("plugins");
    std::fs::copy(&file, plugins.join(".skel")).unwrap();
    std::fs::rename(plugins.join(".skel"), plugins.join("libwebhooks_skel.so")).unwrap();
    let program = &program;
    let loaded = move || async move {
        (program.ask("GET", "/modules/webhooks_skel", None).await.status == 200).then_some(())
    };
    eventually("a module that can be unmapped is loaded", loaded).await;

    let token = program.token();
    let listed = say(&["modules", "--url", program.url(), "--token", &token]).await.success();
    for says in ["20 generations, the last 20, stay mapped with", "(modules.pinned_memory_limit;", "NODELETE"]
    {
        assert!(listed.contains(says), "{listed}");
    }
    let metrics = program.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    for figure in ["pinned_bytes", "pinned_max_bytes"] {
        let line = format!("hookline_generations_{figure} {limit}");
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
}

/// In a process of its own it is not mapped here.
#[tokio::test]
async fn a_module_in_a_process_of_its_own_is_replaced_without_any_of_that_memory() {
    let settings = "[modules]\npinned_memory_limit = 0\nisolation = \"process\"\n";
    let host = TestHost::configured(settings, &[STAYS]).await;
    for generation in 2..=5 {
        let answer = host.ask("POST", &format!("/modules/{STAYS}/reload"), None).await;
        assert_eq!((answer.status.as_u16(), &answer.json["data"]["generation"]), (200, &json!(generation)));
    }
    assert_eq!(host.module(STAYS).await["pinned"], json!([]));
}
