//! Modules that are tried in a process before they are loaded: what each fault is called.

use std::path::PathBuf;
use std::time::Duration;

use hookline::model::ModuleId;
use hookline::module::probe::{ProbeRefusal, ProbeResult, probe};
use hookline::module::program::ModuleProgram;
use tests::{PATIENCE, hookline, lendable, private_copy};

async fn tried(module: &str, within: Duration) -> Result<ProbeResult, ProbeRefusal> {
    tried_by(&ModuleProgram::at(hookline()), module, within).await
}

async fn tried_by(
    program: &ModuleProgram,
    module: &str,
    within: Duration,
) -> Result<ProbeResult, ProbeRefusal> {
    let folder = tempfile::tempdir().unwrap();
    let copy = private_copy(module, folder.path());
    probe(program, &ModuleId::new(module), 1, &copy, &lendable(), within).await
}

async fn refusal(module: &str) -> String {
    tried(module, PATIENCE).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_good_module_says_the_same_in_the_probe_as_in_the_host() {
    let probed = tried("webhooks_misbehaving", PATIENCE).await.unwrap();

    assert_eq!(probed.metadata.name, "Misbehaving");
    assert_eq!(probed.wants.bindings[0].exchange, "tests");
    assert_eq!(probed.wants.responders[0].category, "misbehave");
}

#[tokio::test]
async fn a_module_of_an_older_minor_version_passes_and_one_of_another_layout_does_not() {
    assert!(tried("older_minor", PATIENCE).await.is_ok());
    let told = refusal("other_layout").await;
    assert!(told.starts_with("does not fit this host's plugin-api: "), "{told}");
}

#[tokio::test]
async fn an_abort_in_a_constructor_is_called_by_its_name_and_place() {
    assert_eq!(
        refusal("webhooks_constructor_aborts").await,
        "ended the process that tried it by SIGABRT (abort) while it was opened; look at what runs before init, \
         such as constructors; its last words were \"no constructor today\""
    );
}

#[tokio::test]
async fn a_panic_in_either_function_is_told_with_message_and_place() {
    let told = refusal("webhooks_init_panics").await;
    assert!(told.starts_with("init panicked at ") && told.ends_with(": no init today"), "{told}");
    let told = refusal("webhooks_bindings_panic").await;
    assert!(told.starts_with("bindings_and_responders panicked at "), "{told}");
    assert!(told.ends_with(": no bindings today"), "{told}");
}

#[tokio::test]
async fn a_hang_in_either_function_is_killed_and_told() {
    let limit = Duration::from_millis(1500);
    let told = tried("webhooks_init_hangs", limit).await.unwrap_err().to_string();
    assert_eq!(
        told,
        "did not finish loading within 1500 ms, it hangs in init, which must not wait for anything"
    );
    let told = tried("webhooks_bindings_hang", limit).await.unwrap_err().to_string();
    assert_eq!(
        told,
        "did not finish loading within 1500 ms, it hangs in bindings_and_responders, which must not wait for anything"
    );
}

#[tokio::test]
async fn a_document_that_cannot_be_read_is_told() {
    let told = refusal("webhooks_wrong_documents").await;
    assert!(told.starts_with("bindings_and_responders answered what the host cannot read: "), "{told}");
    assert!(told.contains("invalid type: integer `7`"), "{told}");
}

#[tokio::test]
async fn a_library_that_the_loader_refuses_is_told_in_its_words() {
    let told = refusal("no_module").await;
    assert!(told.starts_with("cannot be opened: "), "{told}");
}

#[tokio::test]
async fn a_program_that_is_no_hookline_is_told_apart_from_a_bad_module() {
    let told_by = |program: &'static str| async move {
        let program = ModuleProgram::at(PathBuf::from(program));
        tried_by(&program, "webhooks_misbehaving", PATIENCE).await.unwrap_err().to_string()
    };

    let told = told_by("/no/such/program").await;
    assert!(told.starts_with("cannot be tried: /no/such/program does not start: "), "{told}");
    let told = told_by("/bin/true").await;
    assert!(told.contains("by exit code 0 before it was opened"), "{told}");
}
